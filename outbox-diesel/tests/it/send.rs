//! A service that is generic over its writer can work on a thread: checked by compiling it.

use diesel::Connection;
use outbox_core::{BlockingOutboxWriter, OutboxMessage};

struct Orders<C, W> {
    connection: C,
    outbox: W,
}

impl<C, W> Orders<C, W>
where
    C: Connection,
    W: BlockingOutboxWriter<C, Error = diesel::result::Error>,
{
    fn place(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let message = OutboxMessage::bytes("orders.placed", "x")?.build()?;
        self.connection.transaction(|connection| Ok(self.outbox.enqueue(connection, &message)?))
    }
}

fn spawn<C, W>(mut orders: Orders<C, W>) -> tokio::task::JoinHandle<bool>
where
    C: Connection + 'static,
    W: BlockingOutboxWriter<C, Error = diesel::result::Error> + 'static,
{
    tokio::task::spawn_blocking(move || orders.place().is_ok())
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_generic_service_can_work_on_a_thread() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("outbox.db").display());
    let store = outbox_diesel::SqliteStore::from_url(&url).unwrap();
    outbox_core::OutboxAdmin::migrate(&store).await.unwrap();
    let connection = diesel::SqliteConnection::establish(&url).unwrap();
    assert!(spawn(Orders { connection, outbox: outbox_diesel::SqliteWriter::new() }).await.unwrap());
    assert!(!outbox_core::OutboxStore::is_empty(&store).await.unwrap());
}

#[cfg(feature = "postgres")]
#[allow(dead_code, reason = "compiling it is the test")]
fn postgres(connection: diesel::PgConnection) -> tokio::task::JoinHandle<bool> {
    spawn(Orders { connection, outbox: outbox_diesel::PostgresWriter::new() })
}

#[cfg(feature = "mysql")]
#[allow(dead_code, reason = "compiling it is the test")]
fn mysql(connection: diesel::MysqlConnection) -> tokio::task::JoinHandle<bool> {
    spawn(Orders { connection, outbox: outbox_diesel::MySqlWriter::new() })
}
