use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use outbox_conformance::transaction_suite::{DatabaseSql, PlainConnection};
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{Isolation, OutboxAdmin, OutboxMessage, OutboxStore, StoreErrorKind, TransactionPolicy};
use outbox_seaorm::{SeaOrmStore, SeaOrmWriter, TransactionError};
use outbox_sql::TableNames;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, TransactionTrait};

use crate::fixture::{Fixture, TestDatabase, select};
use crate::transactions::Plain;
use crate::writer::message;

pub(crate) struct Postgres;
type PostgresFixture = Fixture<Postgres>;

outbox_conformance::store_suite!(PostgresFixture);
outbox_conformance::transaction_suite!(PostgresFixture);
outbox_conformance::inbox_suite!(PostgresFixture);

mod writer {
    crate::writer::writer_cases! { super::PostgresFixture:
        a_message_shares_the_fate_of_its_transaction
        a_message_shares_the_fate_of_its_closure
        a_savepoint_takes_its_messages_along
        an_executor_must_be_a_transaction
        a_thousand_messages_in_one_call
        an_event_is_emitted
        every_text_comes_back
        a_dropped_enqueue_leaves_nothing_open
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
        a_store_may_outlive_its_runtime
    }
}

mod inbox {
    crate::inbox::inbox_cases! { super::PostgresFixture:
        an_admission_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_admissions_along
        an_executor_must_be_a_transaction
        a_guard_is_a_connection
        names_can_be_chosen
    }
}

#[cfg(feature = "migration")]
mod migration {
    crate::migration::migration_cases! { super::PostgresFixture }
}

impl TestDatabase for Postgres {
    const SQL: &DatabaseSql = &DatabaseSql::POSTGRES;
    const CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
    const AS_JSON: &str = "::json";

    async fn create(name: &str) -> Option<DatabaseConnection> {
        let server = server().await?;
        // `template0` has no sessions that a copy would have to wait for.
        server.execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        server.close().await.unwrap();
        Some(connect(url(name)).await)
    }

    async fn acquire(db: &DatabaseConnection) -> Box<dyn PlainConnection> {
        Box::new(Plain(db.get_postgres_connection_pool().acquire().await.unwrap()))
    }

    async fn remove(name: &str) {
        let server = server().await.unwrap();
        server.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        server.close().await.unwrap();
    }

    fn parameter(number: usize) -> String {
        format!("${number}")
    }
}

fn url(database: &str) -> String {
    let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
    let url = url.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned());
    let (scheme, rest) = url.split_once("://").unwrap();
    format!("{scheme}://{}/{database}", rest.split(['/', '?']).next().unwrap())
}

async fn connect(options: impl Into<ConnectOptions>) -> DatabaseConnection {
    let mut options = options.into();
    options.connect_lazy(true);
    Database::connect(options).await.unwrap()
}

async fn server() -> Option<DatabaseConnection> {
    let mut options = ConnectOptions::new(url("postgres"));
    options.max_connections(1).acquire_timeout(Duration::from_secs(5));
    Database::connect(options).await.ok()
}

fn case<Fut>(case: impl FnOnce(Arc<PostgresFixture>) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    run_case::<PostgresFixture, _, _>(case);
}

/// The planner settings of the relay are not seen by the user's connections.
#[test]
fn the_settings_of_the_relay_stay_in_the_relay() {
    case(|fixture| async move {
        fixture.store().check().await.unwrap();
        assert_eq!(select::<String>(&fixture.db, "SHOW enable_sort").await, ["on"]);
    });
}

/// An operation on a connection that was cut fails once; the next one opens another.
#[test]
fn a_cut_connection_is_replaced() {
    case(|fixture| async move {
        let store = fixture.store();
        assert!(store.is_empty().await.unwrap());
        let cut = select::<i64>(
            &fixture.db,
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'outbox-relay'",
        );
        assert!(cut.await[0] >= 1, "the relay has connections of its own");
        // The pool has noticed, or the first that needs the connection does.
        if let Err(error) = store.is_empty().await {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        }
        assert!(store.is_empty().await.unwrap());
    });
}

/// A result that was read to its end is no reason to give a connection up, however large its rows are.
#[test]
fn a_connection_is_kept_after_large_rows() {
    case(|fixture| async move {
        let large = || OutboxMessage::bytes("large", vec![7; 100_000]).unwrap().build().unwrap();
        fixture.enqueue(&[large(), large(), large()]).await;
        let relays = "SELECT pid::int8 FROM pg_stat_activity
                      WHERE datname = current_database() AND application_name = 'outbox-relay' ORDER BY pid";
        fixture.store().is_empty().await.unwrap();
        assert_eq!(fixture.fresh().await.len(), 3);
        let before = select::<i64>(&fixture.db, relays).await;
        for _ in 0..3 {
            assert_eq!(fixture.fresh().await.len(), 3);
        }
        assert_eq!(select::<i64>(&fixture.db, relays).await, before);
    });
}

/// Nothing that an error or a store prints has the password, and an unreachable database says where it was looked for.
#[tokio::test]
async fn errors_say_where_and_never_how() {
    let secret = "hunter2canary";
    let url = format!("postgres://somebody:{secret}@127.0.0.1:1/shop");
    let error = SeaOrmStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("postgres database shop at 127.0.0.1:1"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    let store = SeaOrmStore::from_url(&url).unwrap();
    let later = store.check().await.unwrap_err();
    let of_pool = SeaOrmStore::new(&connect(url).await);
    let of_pool_later = of_pool.is_empty().await.unwrap_err();
    assert!(of_pool_later.to_string().contains("refused"), "{of_pool_later}");
    for text in [
        format!("{error} {error:?}"),
        format!("{store:?} {of_pool:?}"),
        format!("{later:?} {of_pool_later:?}"),
    ] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// A store on a schema and with a prefix of its own works beside another in the same database.
#[test]
fn names_can_be_chosen() {
    case(|fixture| async move {
        fixture.db.execute_unprepared("CREATE SCHEMA events").await.unwrap();
        let names = TableNames::new(Some("events"), "shop_").unwrap();
        let store = SeaOrmStore::with_names(&fixture.db, names.clone());
        store.migrate().await.unwrap();
        let writer = SeaOrmWriter::with_names(&names);
        let txn = fixture.db.begin().await.unwrap();
        writer.enqueue(&txn, &message()).await.unwrap();
        txn.commit().await.unwrap();
        assert!(!store.is_empty().await.unwrap());
        assert!(fixture.store().is_empty().await.unwrap());
    });
}

/// The search path that sea-orm gives its connections is that of the relay's, too.
#[test]
fn the_search_path_is_that_of_the_pool() {
    case(|fixture| async move {
        fixture.db.execute_unprepared("CREATE SCHEMA \"it's\"").await.unwrap();
        let database = select::<String>(&fixture.db, "SELECT current_database()::text").await.remove(0);
        let mut options = ConnectOptions::new(url(&database));
        options.set_schema_search_path("it's");
        let db = connect(options).await;
        let store = SeaOrmStore::new(&db);
        store.migrate().await.unwrap();
        let txn = db.begin().await.unwrap();
        fixture.writer.enqueue(&txn, &message()).await.unwrap();
        txn.commit().await.unwrap();
        assert!(!store.is_empty().await.unwrap());
        assert!(fixture.store().is_empty().await.unwrap());
    });
}

/// sea-orm logs every statement of its pool at the level INFO by default; the relay's are not among them.
#[tokio::test]
async fn the_relay_does_not_fill_the_log() {
    let Some(server) = server().await else { return };
    let statements = crate::log::Statements::default();
    // While there is only one, `tracing` lets whatever thread logs first decide for all that nobody listens.
    let _second = tracing::Dispatch::new(statements.clone());
    let _guard = tracing::subscriber::set_default(statements.clone());
    select::<i64>(&server, "SELECT 1::int8").await;
    let of_user = statements.count();
    assert!(of_user > 0, "the user's are logged");
    for store in [SeaOrmStore::new(&server), SeaOrmStore::from_url(&url("postgres")).unwrap()] {
        let _ = store.is_empty().await;
        let _ = store.check().await;
    }
    // What the store asks the user's pool for is one of the user's.
    assert_eq!(statements.count(), of_user + 1);
}

/// Directly connected, no pooler is found.
#[test]
fn a_direct_connection_is_no_pooler() {
    case(|fixture| async move {
        assert!(!fixture.store().detect_pooler().await.unwrap());
    });
}

/// Through a transaction pooler the store refuses to work, and says why.
#[tokio::test]
#[ignore = "needs pgbouncer with pool_mode = transaction at OUTBOX_TEST_PGBOUNCER_URL, which no service task starts"]
async fn a_transaction_pooler_is_found() {
    let url = std::env::var("OUTBOX_TEST_PGBOUNCER_URL").expect("OUTBOX_TEST_PGBOUNCER_URL is set");
    let store = SeaOrmStore::from_url(&url).unwrap();
    assert!(store.detect_pooler().await.unwrap());
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    assert!(error.to_string().contains("pooler"), "{error}");
}

/// Whose connection is lost while he commits is told that nobody knows; a commit that is refused is an error like any
/// other, and the connection is good.
#[test]
fn a_commit_that_fails_says_how() {
    case(|fixture| async move {
        let script = "CREATE TABLE business (id int, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TABLE fatal (id int);
             CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON fatal DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION cut()";
        fixture.db.execute_unprepared(script).await.unwrap();
        let mut tx = fixture.writer.begin(&fixture.db).await.unwrap();
        tx.execute_unprepared("INSERT INTO business VALUES (1), (1)").await.unwrap();
        tx.add(message());
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, TransactionError::Database(_)), "{error}");
        let mut tx = fixture.writer.begin(&fixture.db).await.unwrap();
        tx.execute_unprepared("INSERT INTO fatal VALUES (1)").await.unwrap();
        tx.add(message());
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, TransactionError::Unknown(_)), "{error}");
        assert_eq!(fixture.fresh_ids().await, []);
        assert_eq!(fixture.commits.load(std::sync::atomic::Ordering::Relaxed), 0);
    });
}

/// The level that was asked for is the one that is in force.
#[test]
fn the_isolation_level_is_in_force() {
    case(|fixture| async move {
        for (isolation, expected) in [
            (Isolation::ReadCommitted, "read committed"),
            (Isolation::RepeatableRead, "repeatable read"),
            (Isolation::Serializable, "serializable"),
        ] {
            let policy = TransactionPolicy::new().isolation(isolation);
            let tx = fixture.writer.begin_with(&fixture.db, &policy).await.unwrap();
            assert_eq!(select::<String>(&tx, "SHOW transaction_isolation").await, [expected]);
            tx.commit().await.unwrap();
        }
    });
}
