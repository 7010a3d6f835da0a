use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outbox_conformance::transaction_suite::DatabaseSql;
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{OutboxStore, StoreErrorKind};
use outbox_sqlx::SqliteStore;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Sqlite, SqlitePool};

use crate::explain;
use crate::fixture::{Fixture, TestDatabase};
use crate::inbox_plans;
use crate::writer::message;

type SqliteFixture = Fixture<Sqlite>;

outbox_conformance::store_suite!(SqliteFixture);
outbox_conformance::transaction_suite!(SqliteFixture);
outbox_conformance::inbox_suite!(SqliteFixture);

mod writer {
    crate::writer::writer_cases! { super::SqliteFixture:
        a_message_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_messages_along
        a_thousand_messages_in_one_call
        a_dropped_enqueue_leaves_nothing_open
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
    }
}

impl TestDatabase for Sqlite {
    const SQL: &DatabaseSql = &DatabaseSql::SQLITE;
    async fn create(name: &str) -> Option<SqlitePool> {
        std::fs::create_dir(folder(name)).unwrap();
        let options =
            SqliteConnectOptions::new().filename(folder(name).join("outbox.db")).create_if_missing(true);
        Some(SqlitePool::connect_lazy_with(options))
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

/// No plan of a claim sorts.
#[test]
fn a_claim_walks_the_primary_key() {
    case(|fixture| async move {
        for plan in explain::claims(&fixture, "EXPLAIN QUERY PLAN ", "ANALYZE").await {
            assert!(plan.contains("USING INTEGER PRIMARY KEY"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    });
}

/// Only what is old is read.
#[test]
fn a_purge_walks_the_index_of_the_time() {
    case(|fixture| async move {
        inbox_plans::fill(&fixture, 12, "randomblob(16)", "1").await;
        for (statement, index) in inbox_plans::purge::<Sqlite>()
            .await
            .iter()
            .zip(["consumer=? AND processed_at<?", "consumer=? AND last_attempt_at<?"])
        {
            let plan = explain::plan(&fixture, "EXPLAIN QUERY PLAN ", statement).await;
            assert!(plan.contains(index), "{plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE FOR ORDER"), "{plan}");
        }
    });
}

/// Readers and the one writer do not stand in each other's way: the file has a write-ahead log.
#[test]
fn a_file_has_a_write_ahead_log() {
    case(|fixture| async move {
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&fixture.pool).await.unwrap();
        assert_eq!(mode, "wal");
    });
}

/// A claim reads while a producer's transaction is open, and a settle waits for it instead of failing.
#[test]
fn a_producers_transaction_blocks_no_claim() {
    case(|fixture| async move {
        let mut tx = fixture.pool.begin().await.unwrap();
        fixture.writer.enqueue(&mut tx, &message()).await.unwrap();
        assert!(fixture.store().is_empty().await.unwrap(), "a read does not wait");
        let store = fixture.store();
        let retire = tokio::spawn(async move { store.retire(outbox_core::RelayId::new()).await });
        let early = tokio::time::timeout(Duration::from_millis(50), async {
            while !retire.is_finished() {
                tokio::task::yield_now().await
            }
        });
        assert!(early.await.is_err(), "a write waits for its turn");
        tx.commit().await.unwrap();
        retire.await.unwrap().expect("and then gets it");
    });
}

/// A database in memory exists in its pool only, and that is where the store finds it.
#[tokio::test]
async fn a_database_in_memory_is_shared_with_its_pool() {
    let pool = SqlitePoolOptions::new().max_connections(1).connect_lazy("sqlite::memory:").unwrap();
    let store = SqliteStore::new(&pool);
    outbox_core::OutboxAdmin::migrate(&store).await.unwrap();
    store.check().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    outbox_sqlx::SqliteWriter::new().enqueue(&mut tx, &message()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!store.is_empty().await.unwrap());
}

/// A file that is not there is an error of the operation, and says which.
#[tokio::test]
async fn a_missing_file_is_named() {
    let error = SqliteStore::connect("sqlite:///nowhere/outbox.db").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("/nowhere/outbox.db"), "{error}");
}
