//! A consumer can be spawned, also one that is generic over its inbox: checked by compiling it, and by running it where no
//! service is needed.

use std::sync::Arc;

use diesel::result::Error;
use diesel::{ExpressionMethods, QueryResult};
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use outbox_core::{
    Admission, HandlerError, InboxStore, MessageHandler, MessageId, OutboxMessage, Processed, handler,
};
use outbox_diesel::{AsyncDieselInbox, AsyncOutboxTransaction, TransactionError};
use tokio::task::JoinHandle;

use super::fixture::{Fixture, TestDatabase};
use super::writer::message;

diesel::table! {
    bills (id) {
        id -> BigInt,
    }
}

/// For any connection, with any inbox for it.
async fn admit<C, I>(inbox: &I, connection: &mut C, ids: &[MessageId]) -> QueryResult<Vec<Admission>>
where
    C: AsyncConnection,
    I: InboxStore<C, Error = Error>,
{
    let mut admissions = inbox.admit_all(connection, ids).await?;
    for id in ids {
        admissions.push(inbox.admit(connection, id).await?);
    }
    Ok(admissions)
}

fn spawn_any<C, I>(
    inbox: I,
    mut connection: C,
    ids: Vec<MessageId>,
) -> JoinHandle<QueryResult<Vec<Admission>>>
where
    C: AsyncConnection + 'static,
    I: InboxStore<C, Error = Error> + 'static,
{
    tokio::spawn(async move { admit(&inbox, &mut connection, &ids).await })
}

/// Whoever is told no, or that there is an error, has the connection back as it was.
pub(crate) async fn what_is_not_applied_costs_no_connection<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let inbox = AsyncDieselInbox::<C::Database>::new("billing").unwrap();
    let (mut connection, received) = (fixture.users.get().await.unwrap(), message());
    let nothing = async |_: &mut AsyncOutboxTransaction<'_, C::User>| Ok::<_, TransactionError>(());
    for expected in [Processed::Applied(()), Processed::Duplicate, Processed::Duplicate] {
        assert_eq!(inbox.process(&mut *connection, &received, nothing).await.unwrap(), expected);
        let guard = inbox.begin(&mut *connection, &received).await.unwrap();
        assert_eq!(guard.commit().await.unwrap(), Processed::Duplicate);
    }
    connection.batch_execute("DROP TABLE inbox_messages").await.unwrap();
    for _ in 0..2 {
        let error = inbox.process(&mut *connection, &received, nothing).await.unwrap_err();
        assert!(matches!(error, TransactionError::Database(Error::DatabaseError(..))), "{error}");
        let error = inbox.begin(&mut *connection, &received).await.unwrap_err();
        assert!(matches!(error, Error::DatabaseError(..)), "{error}");
    }
}

macro_rules! billing {
    ($connection:ty, $inbox:ty) => {
        struct Billing {
            users: bb8::Pool<AsyncDieselConnectionManager<$connection>>,
            inbox: $inbox,
        }

        impl Billing {
            async fn bill(&self, message: &OutboxMessage) -> Result<Processed, HandlerError> {
                let mut connection = self.users.get().await?;
                self.inbox
                    .process(&mut *connection, message, async |tx| {
                        diesel::insert_into(bills::table).values(bills::id.eq(1)).execute(tx).await?;
                        tx.add(message.clone());
                        Ok(())
                    })
                    .await
            }

            /// The transaction is begun and ended by hand.
            async fn by_hand(&self, message: &OutboxMessage) -> Result<Processed, HandlerError> {
                let mut connection = self.users.get().await?;
                let mut guard = self.inbox.begin(&mut *connection, message).await?;
                if guard.fresh() {
                    let bill = diesel::insert_into(bills::table).values(bills::id.eq(2));
                    bill.execute(guard.tx()).await?;
                }
                Ok(guard.commit().await?)
            }

            /// The transaction is one of diesel's.
            async fn in_its_own(&self, message: &OutboxMessage) -> Result<Processed, HandlerError> {
                let mut connection = self.users.get().await?;
                let admission = connection
                    .transaction::<_, Error, _>(async |connection| {
                        let admission = self.inbox.admit(connection, message.id()).await?;
                        if admission == Admission::Fresh {
                            let bill = diesel::insert_into(bills::table).values(bills::id.eq(3));
                            bill.execute(connection).await?;
                        }
                        Ok(admission)
                    })
                    .await?;
                Ok(match admission {
                    Admission::Fresh => Processed::Applied(()),
                    Admission::Duplicate => Processed::Duplicate,
                    Admission::Busy => Processed::Busy,
                })
            }
        }

        async fn all(billing: &Billing, message: &OutboxMessage) -> Result<Processed, HandlerError> {
            let first = billing.bill(message).await?;
            assert!(billing.by_hand(message).await?.is_done());
            assert!(billing.in_its_own(message).await?.is_done());
            Ok(first)
        }

        #[allow(dead_code, reason = "compiling it is the test where no service is needed")]
        fn spawn(billing: Billing, message: OutboxMessage) -> JoinHandle<Vec<Processed>> {
            let handlers = handler(billing, all);
            tokio::spawn(async move {
                let first = handlers.handle(&message).await.unwrap();
                vec![first, handlers.handle(&message).await.unwrap()]
            })
        }
    };
}

#[cfg(feature = "async-postgres")]
mod postgres {
    use diesel_async::AsyncPgConnection;
    use outbox_diesel::AsyncPostgresInbox;

    use super::*;

    billing!(AsyncPgConnection, AsyncPostgresInbox);

    #[allow(dead_code, reason = "compiling it is the test")]
    fn compiles(inbox: AsyncPostgresInbox, connection: AsyncPgConnection) {
        spawn_any(inbox, connection, Vec::new());
    }
}

#[cfg(feature = "async-mysql")]
mod mysql {
    use diesel_async::AsyncMysqlConnection;
    use outbox_diesel::AsyncMySqlInbox;

    use super::*;

    billing!(AsyncMysqlConnection, AsyncMySqlInbox);

    #[allow(dead_code, reason = "compiling it is the test")]
    fn compiles(inbox: AsyncMySqlInbox, connection: AsyncMysqlConnection) {
        spawn_any(inbox, connection, Vec::new());
    }
}

#[cfg(feature = "async-sqlite")]
mod sqlite {
    use diesel::{QueryDsl, SqliteConnection};
    use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
    use outbox_conformance::run_case;
    use outbox_core::Admission::{Duplicate, Fresh};
    use outbox_diesel::AsyncSqliteInbox;

    use super::*;
    use crate::asynchronous::sqlite::SqliteFixture;
    use crate::asynchronous::writer::ids;

    type Connection = SyncConnectionWrapper<SqliteConnection>;

    billing!(Connection, AsyncSqliteInbox);

    #[test]
    fn a_generic_consumer_can_be_spawned() {
        run_case::<SqliteFixture, _, _>(|fixture| async move {
            let connection = Connection::establish(&fixture.url).await.unwrap();
            let inbox = AsyncSqliteInbox::new("billing").unwrap();
            let ids = vec![MessageId::new(), MessageId::new()];
            let admissions = spawn_any(inbox, connection, ids).await.unwrap().unwrap();
            assert_eq!(admissions, [Fresh, Fresh, Duplicate, Duplicate]);
        });
    }

    #[test]
    fn a_consumer_can_be_spawned() {
        run_case::<SqliteFixture, _, _>(|fixture| async move {
            let mut user = fixture.users.get().await.unwrap();
            user.batch_execute("CREATE TABLE bills (id BIGINT PRIMARY KEY)").await.unwrap();
            drop(user);
            let inbox = AsyncSqliteInbox::new("billing").unwrap();
            let billing = Billing { users: fixture.users.clone(), inbox };
            let message = message();
            let processed = spawn(billing, message.clone()).await.unwrap();
            assert_eq!(processed, [Processed::Applied(()), Processed::Duplicate]);
            assert_eq!(fixture.fresh_ids().await, ids(&[message]));
            let mut user = fixture.users.get().await.unwrap();
            let bills: Vec<i64> = bills::table.select(bills::id).load(&mut *user).await.unwrap();
            assert_eq!(bills, [1], "the first way was the only one that found it fresh");
        });
    }
}
