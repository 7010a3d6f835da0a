//! A service that is generic over its writer can be spawned: checked by compiling it.

use diesel::QueryResult;
use diesel::result::Error;
use diesel_async::AsyncConnection;
use outbox_core::{OutboxMessage, OutboxWriter};

/// A service for one kind of connection, with any writer for it.
struct Orders<C, W> {
    connection: C,
    outbox: W,
}

macro_rules! orders {
    ($connection:ty) => {
        impl<W> Orders<$connection, W>
        where
            W: OutboxWriter<$connection, Error = Error>,
        {
            async fn place(&mut self, message: &OutboxMessage) -> QueryResult<()> {
                let outbox = &self.outbox;
                self.connection
                    .transaction(async |connection| outbox.enqueue(connection, message).await)
                    .await
            }
        }

        #[allow(dead_code, reason = "compiling it is the test where no service is needed")]
        fn spawn<W>(mut orders: Orders<$connection, W>) -> tokio::task::JoinHandle<QueryResult<()>>
        where
            W: OutboxWriter<$connection, Error = Error> + 'static,
        {
            let message = OutboxMessage::bytes("orders.placed", "x").unwrap().build().unwrap();
            tokio::spawn(async move { orders.place(&message).await })
        }
    };
}

/// A function for any connection, with any writer for it.
async fn place<C, W>(outbox: &W, connection: &mut C, message: &OutboxMessage) -> QueryResult<()>
where
    C: AsyncConnection,
    W: OutboxWriter<C, Error = Error>,
{
    outbox.enqueue(connection, message).await
}

fn spawn_any<C, W>(outbox: W, mut connection: C) -> tokio::task::JoinHandle<QueryResult<()>>
where
    C: AsyncConnection + 'static,
    W: OutboxWriter<C, Error = Error> + 'static,
{
    let message = OutboxMessage::bytes("orders.placed", "x").unwrap().build().unwrap();
    tokio::spawn(async move { place(&outbox, &mut connection, &message).await })
}

#[cfg(feature = "async-postgres")]
mod postgres {
    use diesel_async::AsyncPgConnection;
    use outbox_diesel::AsyncPostgresWriter;

    use super::*;

    orders!(AsyncPgConnection);

    #[allow(dead_code, reason = "compiling it is the test")]
    fn compiles(one: AsyncPgConnection, another: AsyncPgConnection) {
        spawn(Orders { connection: one, outbox: AsyncPostgresWriter::new() });
        spawn_any(AsyncPostgresWriter::new(), another);
    }
}

#[cfg(feature = "async-mysql")]
mod mysql {
    use diesel_async::AsyncMysqlConnection;
    use outbox_diesel::AsyncMySqlWriter;

    use super::*;

    orders!(AsyncMysqlConnection);

    #[allow(dead_code, reason = "compiling it is the test")]
    fn compiles(one: AsyncMysqlConnection, another: AsyncMysqlConnection) {
        spawn(Orders { connection: one, outbox: AsyncMySqlWriter::new() });
        spawn_any(AsyncMySqlWriter::new(), another);
    }
}

#[cfg(feature = "async-sqlite")]
mod sqlite {
    use diesel::SqliteConnection;
    use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
    use outbox_conformance::run_case;
    use outbox_diesel::AsyncSqliteWriter;

    use super::*;
    use crate::asynchronous::sqlite::SqliteFixture;

    type Connection = SyncConnectionWrapper<SqliteConnection>;

    orders!(Connection);

    /// With the connections that users of diesel-async have.
    #[test]
    fn a_generic_service_can_be_spawned() {
        run_case::<SqliteFixture, _, _>(|fixture| async move {
            let connection = Connection::establish(&fixture.url).await.unwrap();
            spawn(Orders { connection, outbox: AsyncSqliteWriter::new() }).await.unwrap().unwrap();
            let connection = Connection::establish(&fixture.url).await.unwrap();
            spawn_any(AsyncSqliteWriter::new(), connection).await.unwrap().unwrap();
            assert_eq!(fixture.fresh().await.len(), 2);
        });
    }
}
