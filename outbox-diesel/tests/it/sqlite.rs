use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::r2d2::R2D2Connection;
use diesel::sql_types::Text;
use diesel::{RunQueryDsl, SqliteConnection, dsl, select};
use outbox_conformance::transaction_suite::DatabaseSql;
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{LeaseRequest, OutboxAdmin, OutboxStore, RelayId, StoreErrorKind};
use outbox_diesel::{SqliteStore, is_conflict};
use tempfile::TempDir;

use crate::fixture::{Fixture, TestDatabase};
use crate::writer::message;

type SqliteFixture = Fixture<SqliteConnection>;

outbox_conformance::store_suite!(SqliteFixture);
outbox_conformance::transaction_suite!(SqliteFixture);
outbox_conformance::inbox_suite!(SqliteFixture);

mod scope {
    crate::fixture::cases! { super::SqliteFixture => scope:
        a_transaction_is_a_connection
        a_nested_transaction_takes_its_messages_along
        nothing_is_flushed_in_a_nested_transaction
        a_nested_transaction_that_was_left_open_is_not_committed
        a_panic_leaves_nothing_open
        a_connection_that_is_in_a_transaction_is_refused
    }
}

mod writer {
    crate::fixture::cases! { super::SqliteFixture => writer:
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

impl TestDatabase for SqliteConnection {
    type Made = TempDir;

    const PRODUCER: &str = "PRAGMA busy_timeout = 5000";
    const SQL: &DatabaseSql = &DatabaseSql::SQLITE;

    fn create(name: &str) -> Option<(String, TempDir)> {
        let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        Some((format!("sqlite://{}?mode=rwc", folder.path().join("outbox.db").display()), folder))
    }

    fn remove(folder: TempDir) {
        folder.close().unwrap();
    }
}

fn case<Fut>(case: impl FnOnce(Arc<SqliteFixture>) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    run_case::<SqliteFixture, _, _>(case);
}

/// Readers and the one writer do not stand in each other's way: the file has a write-ahead log.
#[test]
fn a_file_has_a_write_ahead_log() {
    case(|fixture| async move {
        let mode = select(dsl::sql::<Text>("(SELECT journal_mode FROM pragma_journal_mode)"));
        assert_eq!(mode.get_result(&mut fixture.producer()), Ok("wal".to_owned()));
    });
}

/// A claim reads while a producer's transaction is open, and a settle waits for it instead of failing.
#[test]
fn a_producers_transaction_blocks_no_claim() {
    case(|fixture| async move {
        let mut tx = fixture.begin().await;
        tx.enqueue(&[message()]).await;
        assert!(fixture.store().is_empty().await.unwrap(), "a read does not wait");
        let store = fixture.store();
        let retire = tokio::spawn(async move { store.retire(RelayId::new()).await });
        let early = tokio::time::timeout(Duration::from_millis(50), async {
            while !retire.is_finished() {
                tokio::task::yield_now().await
            }
        });
        assert!(early.await.is_err(), "a write waits for its turn");
        tx.commit().await;
        retire.await.unwrap().expect("and then gets it");
    });
}

/// Waiting for a database does not keep a runtime of a single thread from anything else.
#[tokio::test]
async fn a_waiting_operation_blocks_no_runtime() {
    let fixture = SqliteFixture::new().await.unwrap();
    let mut tx = fixture.begin().await;
    tx.enqueue(&[message()]).await;
    let store = fixture.store();
    let retire = tokio::spawn(async move { store.retire(RelayId::new()).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!retire.is_finished(), "it waits for the producer");
    tx.commit().await;
    retire.await.unwrap().expect("and then gets its turn");
    fixture.cleanup().await;
}

/// An operation that is dropped while it waits gives its turn to the next one.
#[test]
fn a_dropped_operation_holds_up_nobody() {
    case(|fixture| async move {
        let mut tx = fixture.begin().await;
        tx.enqueue(&[message()]).await;
        let store = fixture.store();
        let request =
            LeaseRequest { relay: RelayId::new(), ttl: Duration::from_secs(600), label: "lost".to_owned() };
        let waits = tokio::time::timeout(Duration::from_millis(50), store.acquire(&request, 1));
        assert!(waits.await.is_err(), "it waits for the producer");
        tx.commit().await;
        let next = LeaseRequest { relay: RelayId::new(), label: "next".to_owned(), ..request };
        let leased = store.acquire(&next, 1).await.unwrap();
        assert_eq!(leased.len(), 1);
    });
}

/// SQLite has ended the transaction, or never begun it: there is nothing to roll back, which does not break the connection.
#[test]
fn a_connection_is_not_broken_by_a_transaction_that_is_no_more() {
    case(|fixture| async move {
        let mut connection = fixture.pool.get().unwrap();
        connection.batch_execute("CREATE TABLE t (n INTEGER PRIMARY KEY)").unwrap();
        let mut tx = fixture.writer.begin(&mut connection).unwrap();
        tx.batch_execute("INSERT INTO t VALUES (1)").unwrap();
        tx.batch_execute("INSERT OR ROLLBACK INTO t VALUES (1)").unwrap_err();
        tx.rollback();
        assert!(!connection.is_broken());

        let mut rival = fixture.begin().await;
        rival.enqueue(&[message()]).await;
        connection.batch_execute("PRAGMA busy_timeout = 0").unwrap();
        let busy = fixture.writer.begin(&mut connection).unwrap_err();
        assert!(is_conflict(&busy), "{busy}");
        rival.rollback().await;
        assert!(!connection.is_broken());
        fixture.writer.begin(&mut connection).unwrap().commit().unwrap();
    });
}

/// A database in memory would be another one for each connection.
#[test]
fn a_database_in_memory_is_refused() {
    for url in [":memory:", "sqlite::memory:", "file::memory:?cache=shared"] {
        assert_eq!(SqliteStore::from_url(url).unwrap_err().kind(), StoreErrorKind::Invalid, "{url}");
    }
}

/// A file that is not there is an error of the operation, says which, and is not made.
#[tokio::test]
async fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for missing in ["nowhere/outbox.db", "outbox.db"].map(|name| folder.path().join(name)) {
        let missing = missing.display().to_string();
        let error = SqliteStore::connect(&format!("sqlite://{missing}")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains(&missing), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The bare path is a URL, too, whatever is in it, and the library that is compiled in is new enough.
#[tokio::test]
async fn a_path_is_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("50% of #1?.db");
    std::fs::write(&path, "").unwrap();
    let store = SqliteStore::connect(path.to_str().unwrap()).await.unwrap();
    store.migrate().await.unwrap();
    store.check().await.unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 0);
}
