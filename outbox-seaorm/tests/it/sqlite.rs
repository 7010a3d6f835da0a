use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outbox_conformance::transaction_suite::{DatabaseSql, PlainConnection};
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{OutboxAdmin, OutboxStore, StoreErrorKind};
use outbox_seaorm::{SeaOrmStore, SeaOrmWriter, TransactionError, is_conflict};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, TransactionTrait};

use crate::fixture::{Fixture, TestDatabase, select};
use crate::transactions::Plain;
use crate::writer::message;

pub(crate) struct Sqlite;
type SqliteFixture = Fixture<Sqlite>;

outbox_conformance::store_suite!(SqliteFixture);
outbox_conformance::transaction_suite!(SqliteFixture);
outbox_conformance::inbox_suite!(SqliteFixture);

mod writer {
    crate::writer::writer_cases! { super::SqliteFixture:
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
    crate::inbox::inbox_cases! { super::SqliteFixture:
        an_admission_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_admissions_along
        an_executor_must_be_a_transaction
        a_guard_is_a_connection
        names_can_be_chosen
    }
}

#[cfg(feature = "migration")]
mod migration {
    crate::migration::migration_cases! { super::SqliteFixture }
}

impl TestDatabase for Sqlite {
    const SQL: &DatabaseSql = &DatabaseSql::SQLITE;
    async fn create(name: &str) -> Option<DatabaseConnection> {
        std::fs::create_dir(folder(name)).unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder(name).join("outbox.db").display());
        let mut options = ConnectOptions::new(url);
        options.max_connections(10).connect_lazy(true);
        Some(Database::connect(options).await.unwrap())
    }

    async fn acquire(db: &DatabaseConnection) -> Box<dyn PlainConnection> {
        Box::new(Plain(db.get_sqlite_connection_pool().acquire().await.unwrap()))
    }

    async fn remove(name: &str) {
        std::fs::remove_dir_all(folder(name)).unwrap();
    }
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
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
        // A connection that was open before learns of it when it reads.
        assert_eq!(select::<i64>(&fixture.db, "SELECT count(*) FROM outbox_messages").await, [0]);
        assert_eq!(select::<String>(&fixture.db, "PRAGMA journal_mode").await, ["wal"]);
    });
}

/// A claim reads while a producer's transaction is open, and a settle waits for it instead of failing.
#[test]
fn a_producers_transaction_blocks_no_claim() {
    case(|fixture| async move {
        let txn = fixture.db.begin().await.unwrap();
        fixture.writer.enqueue(&txn, &message()).await.unwrap();
        assert!(fixture.store().is_empty().await.unwrap(), "a read does not wait");
        let store = fixture.store();
        let retire = tokio::spawn(async move { store.retire(outbox_core::RelayId::new()).await });
        let early = tokio::time::timeout(Duration::from_millis(50), async {
            while !retire.is_finished() {
                tokio::task::yield_now().await
            }
        });
        assert!(early.await.is_err(), "a write waits for its turn");
        txn.commit().await.unwrap();
        retire.await.unwrap().expect("and then gets it");
    });
}

/// sea-orm's pool has a single connection by default: the relay does not need it, not even at first.
#[test]
fn a_held_connection_does_not_hold_up_the_relay() {
    case(|fixture| async move {
        let file = select::<String>(&fixture.db, "SELECT file FROM pragma_database_list").await.remove(0);
        let db = Database::connect(format!("sqlite://{file}")).await.unwrap();
        let txn = db.begin().await.unwrap();
        fixture.writer.enqueue(&txn, &message()).await.unwrap();
        let store = SeaOrmStore::new(&db);
        assert!(store.is_empty().await.unwrap());
        txn.commit().await.unwrap();
        assert!(!store.is_empty().await.unwrap());
    });
}

/// A database in memory exists in its pool only, and that is where the store finds it.
#[tokio::test]
async fn a_database_in_memory_is_shared_with_its_pool() {
    let db = Database::connect("sqlite::memory:").await.unwrap();
    let store = SeaOrmStore::new(&db);
    store.migrate().await.unwrap();
    store.check().await.unwrap();
    let txn = db.begin().await.unwrap();
    SeaOrmWriter::new().enqueue(&txn, &message()).await.unwrap();
    txn.commit().await.unwrap();
    assert!(!store.is_empty().await.unwrap());
}

/// A file that is not there is an error of the operation, and says which.
#[tokio::test]
async fn a_missing_file_is_named() {
    let error = SeaOrmStore::connect("sqlite:///nowhere/outbox.db").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("/nowhere/outbox.db"), "{error}");
}

/// A transaction that SQLite has ended by itself is over for sqlx, too, however its scope goes: the next one on that
/// connection begins as a transaction that writes, and not as a savepoint of the last.
#[test]
fn a_transaction_that_was_ended_is_forgotten() {
    case(|fixture| async move {
        let file = select::<String>(&fixture.db, "SELECT file FROM pragma_database_list").await.remove(0);
        let mut options = ConnectOptions::new(format!("sqlite://{file}"));
        options.max_connections(1);
        let db = Database::connect(options).await.unwrap();
        db.execute_unprepared("CREATE TABLE business (id INTEGER PRIMARY KEY)").await.unwrap();
        db.execute_unprepared("INSERT INTO business VALUES (1)").await.unwrap();
        let end = "INSERT OR ROLLBACK INTO business VALUES (1)";
        let mut rival = Sqlite::acquire(&fixture.db).await;
        rival.execute("PRAGMA busy_timeout = 0").await.unwrap();

        let tx = fixture.writer.begin(&db).await.unwrap();
        tx.execute_unprepared(end).await.unwrap_err();
        drop(tx);
        let tx = fixture.writer.begin(&db).await.unwrap();
        assert!(rival.execute("BEGIN IMMEDIATE").await.is_err(), "it has the lock");
        tx.execute_unprepared(end).await.unwrap_err();
        tx.rollback().await;
        let tx = fixture.writer.begin(&db).await.unwrap();
        assert!(rival.execute("BEGIN IMMEDIATE").await.is_err(), "it has the lock");
        tx.execute_unprepared(end).await.unwrap_err();
        tx.commit().await.unwrap_err();
        let tx = fixture.writer.begin(&db).await.unwrap();
        assert!(rival.execute("BEGIN IMMEDIATE").await.is_err(), "it has the lock");
        tx.commit().await.unwrap();
        rival.execute("BEGIN IMMEDIATE").await.expect("nobody has the lock");
    });
}

/// A conflict is found wherever sea-orm has put it.
#[test]
fn a_conflict_is_found() {
    case(|fixture| async move {
        let file = select::<String>(&fixture.db, "SELECT file FROM pragma_database_list").await.remove(0);
        let hasty = Database::connect(format!("sqlite://{file}")).await.unwrap();
        hasty.execute_unprepared("PRAGMA busy_timeout = 0").await.unwrap();
        let tx = fixture.writer.begin(&fixture.db).await.unwrap();
        let busy = fixture.writer.begin(&hasty).await.unwrap_err();
        tx.rollback().await;
        assert!(is_conflict(&busy), "{busy:?}");
        let nested = sea_orm::TransactionError::Transaction(busy.clone());
        assert!(is_conflict(&nested), "{nested:?}");
        assert!(is_conflict(&TransactionError::Database(busy)));
        assert!(!is_conflict(&sea_orm::DbErr::Custom("out of stock".to_owned())));
    });
}
