//! A service that is generic over its writer can be spawned: checked by compiling it.

use diesel::result::Error;
use diesel::{ExpressionMethods, QueryDsl, QueryResult};
use diesel_async::{AsyncConnection, RunQueryDsl};
use outbox_core::{OutboxMessage, OutboxWriter, TransactionPolicy};
use outbox_diesel::TransactionError;

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

/// A service that has its transactions begin anew after a conflict. Its error is its own.
macro_rules! accounts {
    ($connection:ty, $writer:ty) => {
        struct Accounts {
            users: bb8::Pool<diesel_async::pooled_connection::AsyncDieselConnectionManager<$connection>>,
            outbox: $writer,
        }

        impl Accounts {
            async fn open(&self, id: i64, message: &OutboxMessage) -> Result<usize, AccountError> {
                let mut connection = self.users.get().await.unwrap();
                self.outbox
                    .transaction(&mut *connection, TransactionPolicy::new(), async |tx| {
                        let rows = open(id).execute(&mut **tx).await?;
                        // The transaction itself is a connection, too.
                        open(id + 1).execute(tx).await?;
                        let nested = async |tx: &mut _| open(id + 2).execute(tx).await;
                        tx.transaction::<_, Error, _>(nested).await?;
                        tx.add(message.clone());
                        Ok(rows)
                    })
                    .await
            }

            /// Begun and ended by hand, on what the pool lent.
            async fn close(&self, id: i64, message: &OutboxMessage) -> Result<(), AccountError> {
                let mut connection = self.users.get().await.unwrap();
                let mut tx = self.outbox.begin(&mut *connection).await?;
                diesel::delete(accounts::table.find(id)).execute(&mut *tx).await?;
                tx.add(message.clone());
                tx.flush().await?;
                Ok(tx.commit().await?)
            }

            #[allow(dead_code, reason = "compiling it is the test where no service is needed")]
            fn spawn(self, id: i64) -> tokio::task::JoinHandle<Result<usize, AccountError>> {
                let message = OutboxMessage::bytes("accounts.opened", "x").unwrap().build().unwrap();
                tokio::spawn(async move {
                    let rows = self.open(id, &message).await?;
                    self.close(id, &message).await?;
                    Ok(rows)
                })
            }
        }

        fn open(
            id: i64,
        ) -> impl diesel::query_builder::QueryFragment<<$connection as diesel_async::AsyncConnectionCore>::Backend>
        + diesel::query_builder::QueryId
        + Send {
            diesel::insert_into(accounts::table).values((accounts::id.eq(id), accounts::version.eq(0)))
        }
    };
}

diesel::table! {
    accounts (id) {
        id -> BigInt,
        version -> BigInt,
    }
}

#[derive(Debug)]
enum AccountError {
    Transaction(TransactionError),
}

impl From<TransactionError> for AccountError {
    fn from(error: TransactionError) -> Self {
        Self::Transaction(error)
    }
}

impl From<Error> for AccountError {
    fn from(error: Error) -> Self {
        Self::Transaction(error.into())
    }
}

impl std::fmt::Display for AccountError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the account can't be opened")
    }
}

impl std::error::Error for AccountError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let Self::Transaction(error) = self;
        Some(error)
    }
}

#[cfg(feature = "async-postgres")]
mod postgres {
    use diesel_async::AsyncPgConnection;
    use outbox_diesel::AsyncPostgresWriter;

    use super::*;

    orders!(AsyncPgConnection);
    accounts!(AsyncPgConnection, AsyncPostgresWriter);

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
    accounts!(AsyncMysqlConnection, AsyncMySqlWriter);

    #[allow(dead_code, reason = "compiling it is the test")]
    fn compiles(one: AsyncMysqlConnection, another: AsyncMysqlConnection) {
        spawn(Orders { connection: one, outbox: AsyncMySqlWriter::new() });
        spawn_any(AsyncMySqlWriter::new(), another);
    }
}

#[cfg(feature = "async-sqlite")]
mod sqlite {
    use diesel::SqliteConnection;
    use diesel_async::SimpleAsyncConnection;
    use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
    use outbox_conformance::run_case;
    use outbox_diesel::AsyncSqliteWriter;

    use super::*;
    use crate::asynchronous::sqlite::SqliteFixture;

    type Connection = SyncConnectionWrapper<SqliteConnection>;

    orders!(Connection);
    accounts!(Connection, AsyncSqliteWriter);

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

    #[test]
    fn a_service_with_transactions_can_be_spawned() {
        run_case::<SqliteFixture, _, _>(|fixture| async move {
            let mut user = fixture.users.get().await.unwrap();
            let create = "CREATE TABLE accounts (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)";
            user.batch_execute(create).await.unwrap();
            drop(user);
            let accounts = Accounts { users: fixture.users.clone(), outbox: AsyncSqliteWriter::new() };
            assert_eq!(accounts.spawn(7).await.unwrap().unwrap(), 1);
            assert_eq!(fixture.fresh().await.len(), 2);
        });
    }
}
