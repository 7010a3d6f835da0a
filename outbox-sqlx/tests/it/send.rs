//! A service that is generic over its writer can be spawned: checked by compiling it.

use outbox_core::{OutboxMessage, OutboxWriter};
use sqlx::{Database, Pool};

struct Orders<DB: Database, W> {
    pool: Pool<DB>,
    outbox: W,
}

impl<DB, W> Orders<DB, W>
where
    DB: Database,
    W: OutboxWriter<DB::Connection, Error = sqlx::Error>,
{
    async fn place(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let message = OutboxMessage::bytes("orders.placed", "x")?.build()?;
        let mut tx = self.pool.begin().await?;
        self.outbox.enqueue(&mut tx, &message).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn spawn<DB, W>(orders: Orders<DB, W>) -> tokio::task::JoinHandle<bool>
where
    DB: Database,
    W: OutboxWriter<DB::Connection, Error = sqlx::Error> + 'static,
{
    tokio::spawn(async move { orders.place().await.is_ok() })
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_generic_service_can_be_spawned() {
    let pool =
        sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    let store = outbox_sqlx::SqliteStore::new(&pool);
    outbox_core::OutboxAdmin::migrate(&store).await.unwrap();
    let orders = Orders { pool, outbox: outbox_sqlx::SqliteWriter::new() };
    assert!(spawn(orders).await.unwrap());
    let empty = outbox_core::OutboxStore::is_empty(&store).await.unwrap();
    assert!(!empty, "a database in memory is the one of the pool");
}

#[cfg(feature = "postgres")]
#[allow(dead_code, reason = "compiling it is the test")]
fn postgres(pool: sqlx::PgPool) -> tokio::task::JoinHandle<bool> {
    spawn(Orders { pool, outbox: outbox_sqlx::PostgresWriter::new() })
}

#[cfg(feature = "mysql")]
#[allow(dead_code, reason = "compiling it is the test")]
fn mysql(pool: sqlx::MySqlPool) -> tokio::task::JoinHandle<bool> {
    spawn(Orders { pool, outbox: outbox_sqlx::MySqlWriter::new() })
}
