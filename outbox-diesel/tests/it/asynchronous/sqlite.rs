use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diesel::sql_types::{BigInt, Text};
use diesel::{ConnectionError, QueryResult, SqliteConnection};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use outbox_conformance::transaction_suite::DatabaseSql;
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{OutboxStore, RelayId, StoreErrorKind};
use outbox_diesel::{AsyncSqliteConnection, AsyncSqliteStore};

use super::fixture::{Fixture, TestDatabase};
use super::writer::message;

pub(crate) type SqliteFixture = Fixture<AsyncSqliteConnection>;

outbox_conformance::store_suite!(SqliteFixture);
outbox_conformance::transaction_suite!(SqliteFixture);
outbox_conformance::inbox_suite!(SqliteFixture);

mod writer {
    crate::asynchronous::writer::cases! { writer, super::SqliteFixture:
        a_message_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_messages_along
        a_thousand_messages_in_one_call
        a_dropped_enqueue_leaves_nothing_open
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
    }
}

mod consumer {
    crate::asynchronous::writer::cases! { consumer, super::SqliteFixture:
        what_is_not_applied_costs_no_connection
    }
}

mod dropped {
    crate::asynchronous::writer::cases! { dropped, super::SqliteFixture:
        a_dropped_transaction_takes_its_connection_along
        a_future_dropped_anywhere_spoils_no_pool
        a_consumer_dropped_anywhere_has_effects_once
        a_dropped_nested_transaction_is_not_committed
        nested_transactions_are_savepoints
        a_second_transaction_is_refused
    }
}

impl TestDatabase for AsyncSqliteConnection {
    const SQL: &'static DatabaseSql = &DatabaseSql::SQLITE;

    type User = SyncConnectionWrapper<SqliteConnection>;
    type Manager = AsyncDieselConnectionManager<Self::User>;

    fn manager(url: &str) -> Self::Manager {
        let mut config = ManagerConfig::default();
        config.custom_setup = Box::new(|url| {
            let url = url.to_owned();
            Box::pin(async move {
                let mut connection = Self::User::establish(&url).await?;
                let patient = connection.batch_execute("PRAGMA busy_timeout = 5000").await;
                patient.map_err(ConnectionError::CouldntSetupConfiguration)?;
                Ok(connection)
            })
        });
        AsyncDieselConnectionManager::new_with_config(url, config)
    }

    async fn number(connection: &mut Self::User, sql: &str) -> QueryResult<i64> {
        diesel::select(diesel::dsl::sql::<BigInt>(&format!("({sql})"))).get_result(connection).await
    }

    async fn create(name: &str) -> Option<String> {
        std::fs::create_dir(folder(name)).unwrap();
        Some(format!("sqlite://{}?mode=rwc", folder(name).join("outbox.db").display()))
    }

    async fn remove(name: &str) {
        std::fs::remove_dir_all(folder(name)).unwrap();
    }

    async fn producer(url: &str) -> Self {
        let mut connection = Self::establish(url).await.unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 5000").await.unwrap();
        connection
    }

    fn text(hex: &str) -> String {
        format!("CAST(X'{hex}' AS TEXT)")
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
        let mode = diesel::dsl::sql::<Text>("(SELECT journal_mode FROM pragma_journal_mode)");
        let mode: String = diesel::select(mode).get_result(&mut fixture.producer().await).await.unwrap();
        assert_eq!(mode, "wal");
    });
}

/// A claim reads while a producer's transaction is open, and a settle waits for it instead of failing.
#[test]
fn a_producers_transaction_blocks_no_claim() {
    case(|fixture| async move {
        let mut transaction = fixture.begin().await;
        transaction.enqueue(&[message()]).await;
        assert!(fixture.store().is_empty().await.unwrap(), "a read does not wait");
        let store = fixture.store();
        let retire = tokio::spawn(async move { store.retire(RelayId::new()).await });
        let early = tokio::time::timeout(Duration::from_millis(50), async {
            while !retire.is_finished() {
                tokio::task::yield_now().await
            }
        });
        assert!(early.await.is_err(), "a write waits for its turn");
        transaction.commit().await;
        retire.await.unwrap().expect("and then gets it");
    });
}

/// An operation may be dropped in a runtime of a single thread, and does not hold it up.
#[tokio::test]
async fn a_dropped_operation_holds_up_nobody() {
    let fixture = SqliteFixture::new().await.unwrap();
    let mut transaction = fixture.begin().await;
    transaction.enqueue(&[message()]).await;
    let store = fixture.store();
    let waits = tokio::time::timeout(Duration::from_millis(50), store.retire(RelayId::new()));
    assert!(waits.await.is_err(), "it waits for the producer");
    transaction.commit().await;
    store.retire(RelayId::new()).await.expect("the next one gets its turn");
    fixture.cleanup().await;
}

/// A file that is not there is an error of the operation, and says which.
#[tokio::test]
async fn a_missing_file_is_named() {
    let error = AsyncSqliteStore::connect("sqlite:///nowhere/outbox.db").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("/nowhere/outbox.db"), "{error}");
}

/// What is no file is refused: each connection would have a database of its own.
#[tokio::test]
async fn a_database_in_memory_is_refused() {
    for url in [":memory:", "sqlite::memory:", "postgres://somebody:hunter2canary@host/shop"] {
        let error = AsyncSqliteStore::from_url(url).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}

/// The bundled library is new enough.
#[test]
fn the_library_is_new_enough() {
    case(|fixture| async move {
        fixture.store().check().await.unwrap();
    });
}
