use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Text};
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::FutureExt;
use outbox_conformance::transaction_suite::DatabaseSql;
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{OutboxAdmin, OutboxStore, StoreErrorKind, TransactionError};
use outbox_diesel::{AsyncPostgresStore, AsyncPostgresWriter};
use outbox_sql::TableNames;

use super::fixture::{Fixture, TestDatabase};
use super::writer::message;

type PostgresFixture = Fixture<AsyncPgConnection>;

outbox_conformance::store_suite!(PostgresFixture);
outbox_conformance::transaction_suite!(PostgresFixture);
outbox_conformance::inbox_suite!(PostgresFixture);

mod writer {
    crate::asynchronous::writer::cases! { writer, super::PostgresFixture:
        a_message_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_messages_along
        a_thousand_messages_in_one_call
        a_dropped_enqueue_leaves_nothing_open
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
    }
}

mod consumer {
    crate::asynchronous::writer::cases! { consumer, super::PostgresFixture:
        what_is_not_applied_costs_no_connection
    }
}

mod dropped {
    crate::asynchronous::writer::cases! { dropped, super::PostgresFixture:
        a_dropped_transaction_lets_go_of_its_locks
        a_dropped_transaction_takes_its_connection_along
        a_future_dropped_anywhere_spoils_no_pool
        a_consumer_dropped_anywhere_has_effects_once
        a_dropped_nested_transaction_is_not_committed
        nested_transactions_are_savepoints
        a_second_transaction_is_refused
    }
}

impl TestDatabase for AsyncPgConnection {
    const SQL: &'static DatabaseSql = &DatabaseSql::POSTGRES;

    type User = Self;
    type Manager = AsyncDieselConnectionManager<Self>;

    fn manager(url: &str) -> Self::Manager {
        AsyncDieselConnectionManager::new(url)
    }

    async fn number(connection: &mut Self, sql: &str) -> QueryResult<i64> {
        diesel::select(diesel::dsl::sql::<BigInt>(&format!("({sql})"))).get_result(connection).await
    }

    async fn create(name: &str) -> Option<String> {
        let mut server = server().await?;
        // `template0` has no sessions that a copy would have to wait for.
        server.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        Some(url(name))
    }

    async fn remove(name: &str) {
        let mut server = server().await.unwrap();
        server.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    }

    fn uuid(hex: &str) -> String {
        format!("'{hex}'")
    }

    fn bytes(hex: &str) -> String {
        format!("'\\x{hex}'::bytea")
    }

    fn text(hex: &str) -> String {
        format!("convert_from('\\x{hex}'::bytea, 'UTF8')")
    }

    const AS_JSON: &str = "::json";
}

/// The URL of another database on the server of the tests.
fn url(database: &str) -> String {
    let server = std::env::var("OUTBOX_TEST_POSTGRES_URL");
    let server = server.as_deref().unwrap_or("postgres://postgres@127.0.0.1:5432/postgres");
    format!("{}/{database}", server.rsplit_once('/').unwrap().0)
}

async fn server() -> Option<AsyncPgConnection> {
    AsyncPgConnection::establish(&url("postgres")).await.ok()
}

fn case<Fut>(case: impl FnOnce(Arc<PostgresFixture>) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    run_case::<PostgresFixture, _, _>(case);
}

/// How many sessions of the relay on this database are so, for which something is not null.
async fn count(connection: &mut AsyncPgConnection, what: &str, condition: &str) -> i64 {
    let sql = format!(
        "(SELECT count({what}) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'outbox-relay' AND {condition})"
    );
    diesel::select(diesel::dsl::sql::<BigInt>(&sql)).get_result(connection).await.unwrap()
}

/// The planner settings of the relay are not seen by the user's connections.
#[test]
fn the_settings_of_the_relay_stay_in_the_relay() {
    case(|fixture| async move {
        fixture.store().check().await.unwrap();
        let mut user = fixture.producer().await;
        let setting = diesel::dsl::sql::<Text>("current_setting('enable_sort')");
        let setting: String = diesel::select(setting).get_result(&mut user).await.unwrap();
        assert_eq!(setting, "on");
    });
}

/// An operation on a connection that was cut fails once; the next one opens another.
#[test]
fn a_cut_connection_is_replaced() {
    case(|fixture| async move {
        let store = fixture.store();
        assert!(store.is_empty().await.unwrap());
        let mut user = fixture.producer().await;
        let cut = count(&mut user, "pg_terminate_backend(pid, 5000)", "true").await;
        assert!(cut >= 1, "the relay has connections of its own");
        assert_eq!(store.is_empty().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
        assert!(store.is_empty().await.unwrap());
    });
}

/// A settle that is cut off while it waits for a lock takes its transaction along: the session on the server ends.
#[test]
fn an_operation_that_is_cut_off_ends_its_session() {
    case(|fixture| async move {
        let store = fixture.store();
        assert!(store.is_empty().await.unwrap());
        let mut user = fixture.producer().await;
        user.batch_execute("BEGIN; LOCK TABLE outbox_relays IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let waits = "wait_event_type = 'Lock'";
        let mut observer = fixture.producer().await;
        {
            let mut retire = Box::pin(store.retire(outbox_core::RelayId::new()));
            while count(&mut observer, "*", waits).await == 0 {
                assert!((&mut retire).now_or_never().is_none(), "it waits for the lock");
            }
        }
        user.batch_execute("ROLLBACK").await.unwrap();
        let open = "state <> 'idle'";
        let end = async { while count(&mut observer, "*", open).await > 0 {} };
        tokio::time::timeout(Duration::from_secs(20), end).await.expect("the server rolls back");
    });
}

/// A commit whose answer is lost may be one: nobody says that nothing is committed, and nobody tries again.
#[test]
fn a_commit_without_an_answer_is_unknown() {
    case(|fixture| async move {
        let mut user = fixture.users.get().await.unwrap();
        let fatal = "CREATE TABLE fatal (id int);
             CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM pg_terminate_backend(pg_backend_pid());
                 RETURN NULL;
             END $$;
             CREATE CONSTRAINT TRIGGER die AFTER INSERT ON fatal DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION die()";
        user.batch_execute(fatal).await.unwrap();
        let mut tx = fixture.writer.begin(&mut *user).await.unwrap();
        tx.batch_execute("INSERT INTO fatal VALUES (1)").await.unwrap();
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, TransactionError::Unknown(_)), "{error:?}");
        let again = fixture.writer.begin(&mut *user).await.map(drop);
        assert!(matches!(again, Err(Error::BrokenTransactionManager)), "{again:?}");
    });
}

/// Nothing that an error or a store prints has the password, and an unreachable database says where it was looked for.
#[tokio::test]
async fn errors_say_where_and_never_how() {
    let secret = "hunter2canary";
    let url = format!("postgres://somebody:{secret}@127.0.0.1:1/shop");
    let error = AsyncPostgresStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("postgres database shop at 127.0.0.1:1"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    let store = AsyncPostgresStore::from_url(&url).unwrap();
    let later = store.check().await.unwrap_err();
    for text in [format!("{error} {error:?}"), format!("{store:?}"), format!("{later:?}")] {
        assert!(!text.contains(secret), "{text}");
    }
    for wrong in [
        format!("postgres://somebody:{secret}@host:99999/shop"),
        format!("mysql://somebody:{secret}@host/shop"),
        format!("user=somebody password={secret} host=a {secret}"),
        format!("postgres:///{secret}"),
    ] {
        let invalid = AsyncPostgresStore::from_url(&wrong).unwrap_err();
        assert_eq!(invalid.kind(), StoreErrorKind::Invalid, "{wrong}");
        assert!(!format!("{invalid} {invalid:?}").contains(secret), "{invalid}");
    }
}

/// What the server refuses at the door is no outage.
#[test]
fn a_missing_database_is_named() {
    case(|_fixture| async move {
        let error = AsyncPostgresStore::connect(&url("outbox_nowhere")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Other, "{error}");
        assert!(error.to_string().contains("outbox_nowhere"), "{error}");
    });
}

/// A store on a schema and with a prefix of its own works beside another in the same database.
#[test]
fn names_can_be_chosen() {
    case(|fixture| async move {
        let mut user = fixture.producer().await;
        user.batch_execute("CREATE SCHEMA events").await.unwrap();
        let names = TableNames::new(Some("events"), "shop_").unwrap();
        let store = AsyncPostgresStore::from_url_with_names(&fixture.url, names.clone()).unwrap();
        store.migrate().await.unwrap();
        AsyncPostgresWriter::with_names(&names).enqueue(&mut user, &message()).await.unwrap();
        assert!(!store.is_empty().await.unwrap());
        assert!(fixture.store().is_empty().await.unwrap());
    });
}

/// Connections may be brought along. They are opened when they are needed, and set up like the others.
#[test]
fn connections_can_be_brought_along() {
    case(|fixture| async move {
        let url = fixture.url.clone();
        let open = move || {
            let url = url.clone();
            async move { AsyncPgConnection::establish(&url).await }.boxed()
        };
        let store = AsyncPostgresStore::from_connector("the shop", open, TableNames::default());
        store.check().await.unwrap();
        assert!(store.is_empty().await.unwrap());
        assert!(format!("{store:?}").contains("the shop"), "{store:?}");
    });
}

/// Directly connected, no pooler is found.
#[test]
fn a_direct_connection_is_no_pooler() {
    case(|fixture| async move {
        assert!(!fixture.store().detect_pooler().await.unwrap());
    });
}

/// Through a transaction pooler the store refuses to start, and says why.
#[tokio::test]
#[ignore = "needs pgbouncer with pool_mode = transaction at OUTBOX_TEST_PGBOUNCER_URL, which no service task starts"]
async fn a_transaction_pooler_is_found() {
    let url = std::env::var("OUTBOX_TEST_PGBOUNCER_URL").expect("OUTBOX_TEST_PGBOUNCER_URL is set");
    let store = AsyncPostgresStore::from_url(&url).unwrap();
    assert!(store.detect_pooler().await.unwrap());
    assert_eq!(store.check().await.unwrap_err().kind(), StoreErrorKind::Invalid);
}
