//! A consumer that is generic over its inbox can work on a thread: checked by compiling it, and by running it where no
//! service is needed.

use diesel::result::Error;
use diesel::{Connection, QueryResult};
use outbox_core::{Admission, BlockingInboxStore, MessageId};
use tokio::task::{JoinHandle, spawn_blocking};

fn spawn<C, I>(inbox: I, mut connection: C, ids: Vec<MessageId>) -> JoinHandle<QueryResult<Vec<Admission>>>
where
    C: Connection + 'static,
    I: BlockingInboxStore<C, Error = Error> + 'static,
{
    spawn_blocking(move || {
        connection.transaction(|connection| {
            let mut admissions = inbox.admit_all(connection, &ids)?;
            for id in &ids {
                admissions.push(inbox.admit(connection, id)?);
            }
            Ok(admissions)
        })
    })
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::sync::Arc;

    use diesel::connection::SimpleConnection;
    use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl, SqliteConnection};
    use outbox_conformance::run_case;
    use outbox_core::Admission::{Duplicate, Fresh};
    use outbox_core::{HandlerError, Processed};
    use outbox_diesel::SqliteInbox;

    use super::*;
    use crate::fixture::Fixture;
    use crate::writer::{ids, message};

    diesel::table! {
        bills (id) {
            id -> BigInt,
        }
    }

    #[test]
    fn a_generic_consumer_can_work_on_a_thread() {
        run_case(|fixture: Arc<Fixture<SqliteConnection>>| async move {
            let inbox = SqliteInbox::new("billing").unwrap();
            let ids = vec![MessageId::new(), MessageId::new()];
            let admissions = spawn(inbox, fixture.producer(), ids).await.unwrap().unwrap();
            assert_eq!(admissions, [Fresh, Fresh, Duplicate, Duplicate]);
        });
    }

    /// With the errors of a handler, and with a connection of a pool.
    #[test]
    fn a_consumer_works_on_what_a_pool_lends() {
        run_case(|fixture: Arc<Fixture<SqliteConnection>>| async move {
            let mut connection = fixture.pool.get().unwrap();
            connection.batch_execute("CREATE TABLE bills (id BIGINT PRIMARY KEY)").unwrap();
            let inbox = SqliteInbox::new("billing").unwrap();
            let message = message();
            let mut bill = || {
                inbox.process(&mut connection, &message, |tx| {
                    diesel::insert_into(bills::table).values(bills::id.eq(1)).execute(tx)?;
                    tx.add(message.clone());
                    Ok::<_, HandlerError>(())
                })
            };
            assert_eq!(bill().unwrap(), Processed::Applied(()));
            assert_eq!(bill().unwrap(), Processed::Duplicate);
            let bills: Vec<i64> = bills::table.select(bills::id).load(&mut connection).unwrap();
            assert_eq!(bills, [1]);
            assert_eq!(fixture.fresh_ids().await, ids(&[message]));
        });
    }
}

#[cfg(feature = "postgres")]
#[allow(dead_code, reason = "compiling it is the test")]
fn postgres(
    inbox: outbox_diesel::PostgresInbox,
    connection: diesel::PgConnection,
) -> JoinHandle<QueryResult<Vec<Admission>>> {
    spawn(inbox, connection, Vec::new())
}

#[cfg(feature = "mysql")]
#[allow(dead_code, reason = "compiling it is the test")]
fn mysql(
    inbox: outbox_diesel::MySqlInbox,
    connection: diesel::MysqlConnection,
) -> JoinHandle<QueryResult<Vec<Admission>>> {
    spawn(inbox, connection, Vec::new())
}
