use std::future::Future;
use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, PgConnection, QueryResult, RunQueryDsl, SaveChangesDsl, dsl, select};
use outbox_conformance::transaction_suite::DatabaseSql;
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{OutboxAdmin, OutboxStore, StoreErrorKind, TransactionPolicy};
use outbox_diesel::{PostgresStore, PostgresWriter, TransactionError};
use outbox_sql::TableNames;

use crate::fixture::{Fixture, TestDatabase};
use crate::writer::message;

type PostgresFixture = Fixture<PgConnection>;

outbox_conformance::store_suite!(PostgresFixture);
outbox_conformance::transaction_suite!(PostgresFixture);
outbox_conformance::inbox_suite!(PostgresFixture);

mod scope {
    crate::fixture::cases! { super::PostgresFixture => scope:
        a_transaction_is_a_connection
        a_nested_transaction_takes_its_messages_along
        nothing_is_flushed_in_a_nested_transaction
        a_nested_transaction_that_was_left_open_is_not_committed
        a_panic_leaves_nothing_open
        a_connection_that_is_in_a_transaction_is_refused
        a_connection_that_was_lost_is_closed_by_its_pool
        a_commit_whose_answer_is_lost_is_unknown
    }
}

mod writer {
    crate::fixture::cases! { super::PostgresFixture => writer:
        a_message_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_messages_along
        an_error_ends_the_users_closure
        an_event_is_written_or_says_why_not
        a_connection_may_be_one_of_a_pool
        a_thousand_messages_in_one_call
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
    }
}

impl TestDatabase for PgConnection {
    type Made = String;

    const AS_JSON: &str = "::json";
    const SQL: &DatabaseSql = &DatabaseSql::POSTGRES;

    fn create(name: &str) -> Option<(String, String)> {
        let mut server = PgConnection::establish(&url()).ok()?;
        // `template0` has no sessions that a copy would have to wait for.
        server.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).unwrap();
        let (server, _) =
            url().rsplit_once('/').map(|(server, rest)| (server.to_owned(), rest.to_owned())).unwrap();
        Some((format!("{server}/{name}"), name.to_owned()))
    }

    fn remove(name: String) {
        let mut server = PgConnection::establish(&url()).unwrap();
        server.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
    }
}

fn url() -> String {
    let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
    url.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned())
}

fn case<Fut>(case: impl FnOnce(Arc<PostgresFixture>) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    run_case::<PostgresFixture, _, _>(case);
}

diesel::table! {
    accounts (id) {
        id -> BigInt,
        version -> BigInt,
    }
}

#[derive(Debug, PartialEq, diesel::AsChangeset, diesel::Identifiable, diesel::Queryable)]
#[diesel(table_name = accounts)]
struct Account {
    id: i64,
    version: i64,
}

/// Whatever diesel reads from a connection it reads from a transaction: whole, row by row, and after a change.
#[test]
fn a_query_is_read_through_a_transaction() {
    case(|fixture| async move {
        let mut connection = fixture.pool.get().unwrap();
        connection.batch_execute("CREATE TABLE accounts (id BIGINT PRIMARY KEY, version BIGINT)").unwrap();
        connection.batch_execute("INSERT INTO accounts VALUES (1, 1)").unwrap();
        let one = || select(dsl::sql::<BigInt>("1::bigint"));
        let read = fixture.writer.transaction(&mut connection, TransactionPolicy::new(), |tx| {
            let first: i64 = one().get_result(tx)?;
            let second: i64 = one().get_result(&mut **tx)?;
            let rows = one().load_iter::<i64, PgRowByRowLoadingMode>(tx)?.collect::<QueryResult<Vec<_>>>()?;
            let account: Account = (&Account { id: 1, version: 2 }).save_changes(tx)?;
            Ok::<_, TransactionError>((first, second, rows, account))
        });
        assert_eq!(read.unwrap(), (1, 1, vec![1], Account { id: 1, version: 2 }));
    });
}

/// What PostgreSQL looks at only when it commits is an error like any other: nothing is committed, and that is known.
#[test]
fn a_constraint_that_fails_at_the_commit_rolls_back() {
    case(|fixture| async move {
        let mut connection = fixture.pool.get().unwrap();
        connection.batch_execute("CREATE TABLE t (n INT UNIQUE DEFERRABLE INITIALLY DEFERRED)").unwrap();
        let insert = || diesel::sql_query("INSERT INTO t VALUES (1)");
        let mut tx = fixture.writer.begin(&mut connection).unwrap();
        insert().execute(&mut tx).unwrap();
        insert().execute(&mut tx).unwrap();
        tx.add(message());
        let error = tx.commit().unwrap_err();
        let unique = DatabaseErrorKind::UniqueViolation;
        assert!(
            matches!(&error, TransactionError::Database(Error::DatabaseError(kind, _)) if *kind == unique)
        );
        assert!(fixture.store().is_empty().await.unwrap());
        let mut tx = fixture.writer.begin(&mut connection).unwrap();
        insert().execute(&mut tx).unwrap();
        tx.commit().unwrap();
    });
}

/// The planner settings of the relay are not seen by the user's connections.
#[test]
fn the_settings_of_the_relay_stay_in_the_relay() {
    case(|fixture| async move {
        fixture.store().check().await.unwrap();
        let sort = select(dsl::sql::<Text>("current_setting('enable_sort')"));
        assert_eq!(sort.get_result(&mut fixture.producer()), Ok("on".to_owned()));
    });
}

/// An operation on a connection that was cut fails once; the next one opens another.
#[test]
fn a_cut_connection_is_replaced() {
    case(|fixture| async move {
        let store = fixture.store();
        assert!(store.is_empty().await.unwrap());
        let cut = dsl::sql::<BigInt>(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'outbox-relay'",
        );
        let cut: i64 = cut.get_result(&mut fixture.producer()).unwrap();
        assert!(cut >= 1, "the relay has connections of its own");
        assert_eq!(store.is_empty().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
        assert!(store.is_empty().await.unwrap());
    });
}

/// Nothing that an error or a store prints has the password, and an unreachable database says where it was looked for.
#[tokio::test]
async fn errors_say_where_and_never_how() {
    let secret = "hunter2canary";
    let url = format!("postgres://somebody:{secret}@127.0.0.1:1/shop");
    let error = PostgresStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("postgres database shop at 127.0.0.1:1"), "{error}");
    let store = PostgresStore::from_url(&url).unwrap();
    let later = store.check().await.unwrap_err();
    for text in [format!("{error} {error:?}"), format!("{store:?}"), format!("{later:?}")] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// Also a URL that libpq does not understand is not repeated, neither by this crate nor by libpq.
#[tokio::test]
async fn a_wrong_url_is_not_repeated() {
    for url in [
        "postgres://somebody:hunter2canary@host:99999/shop",
        "postgres://somebody:hunter2canary@host@127.0.0.1:1/shop",
        "postgres://somebody:hunter2canary@127.0.0.1:1/shop?connect_timeout",
        "postgres://somebody:hunter2canary@127.0.0.1:1/shop?nothing=known",
        "postgres://somebody:hunter2canary@127.0.0.1:1/shop?connect_timeout=hunter2canary",
        "postgres://somebody:hunter2canary%zz@127.0.0.1:1/shop",
        "postgres://somebody@127.0.0.1:1/shop?password=hunter2canary&connect_timeout=hunter2canary",
        "postgres://somebody:hunter2canary@[::1/shop",
        "postgres://somebody:hunter2canary@[]/shop",
        "hunter2canary",
    ] {
        let error = PostgresStore::connect(url).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2canary"), "{error}");
    }
}

/// A server that accepts and says nothing is an error in time, and keeps nobody waiting in the meantime.
#[tokio::test]
async fn a_silent_server_is_unavailable() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    let connect = tokio::spawn(async move {
        PostgresStore::connect(&format!("postgres://somebody@{at}/shop?connect_timeout=2")).await
    });
    let _accepted = tokio::task::spawn_blocking(move || silent.accept().unwrap()).await.unwrap();
    assert!(
        !connect.is_finished(),
        "the runtime of this test has one thread, which is not the one that waits"
    );
    let error = connect.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains(&format!("postgres database shop at {at}: ")), "{error}");
    assert!(
        !error.to_string().contains("no answer within"),
        "libpq gives up first, as its URL says: {error}"
    );
}

/// A database that is not there is no matter of waiting.
#[tokio::test]
async fn a_missing_database_is_no_outage() {
    if PgConnection::establish(&url()).is_err() {
        return;
    }
    let (server, _) =
        url().rsplit_once('/').map(|(server, rest)| (server.to_owned(), rest.to_owned())).unwrap();
    let error = PostgresStore::connect(&format!("{server}/outbox_test_missing")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other, "{error}");
}

/// A store on a schema and with a prefix of its own works beside another in the same database.
#[test]
fn names_can_be_chosen() {
    case(|fixture| async move {
        fixture.producer().batch_execute("CREATE SCHEMA events").unwrap();
        let names = TableNames::new(Some("events"), "shop_").unwrap();
        let store = PostgresStore::from_url_with_names(&fixture.url, names.clone()).unwrap();
        store.migrate().await.unwrap();
        PostgresWriter::with_names(&names).enqueue(&mut fixture.producer(), &message()).unwrap();
        assert!(!store.is_empty().await.unwrap());
        assert!(fixture.store().is_empty().await.unwrap());
    });
}

/// Directly connected, no pooler is found.
#[test]
fn a_direct_connection_is_no_pooler() {
    case(|fixture| async move {
        assert!(!fixture.store().detect_pooler().await.unwrap());
    });
}

/// A transaction pooler is found.
#[tokio::test]
#[ignore = "needs pgbouncer with pool_mode = transaction at OUTBOX_TEST_PGBOUNCER_URL, which no service task starts"]
async fn a_transaction_pooler_is_found() {
    let url = std::env::var("OUTBOX_TEST_PGBOUNCER_URL").expect("OUTBOX_TEST_PGBOUNCER_URL is set");
    let store = PostgresStore::from_url(&url).unwrap();
    assert!(store.detect_pooler().await.unwrap());
    assert_eq!(store.check().await.unwrap_err().kind(), StoreErrorKind::Invalid);
}
