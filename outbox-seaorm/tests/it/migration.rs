//! The tables made by a migrator of sea-orm: the same for every database.

use std::sync::Arc;
use std::time::Duration;

use outbox_conformance::StoreFixture;
use outbox_core::{OutboxAdmin, OutboxStore, StoreErrorKind};
use outbox_seaorm::{OutboxMigration, SeaOrmStore, migrations};
use outbox_sql::TableNames;
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

use crate::fixture::{Fixture, TestDatabase, select};
use crate::writer::message;

/// Expands to one test per case.
macro_rules! migration_cases {
    ($fixture:ty) => {
        $crate::migration::migration_cases! { $fixture:
            the_migrator_makes_the_tables
            the_migrator_finds_the_tables
            two_outboxes_have_their_migrations
            two_migrations_at_once_make_the_tables_once
            a_transaction_of_the_callers_is_respected
            going_down_loses_no_message
            going_down_waits_for_producers
        }
    };
    ($fixture:ty: $($case:ident)+) => {
        $(
            #[test]
            fn $case() {
                outbox_conformance::run_case::<$fixture, _, _>($crate::migration::$case);
            }
        )+
    };
}
pub(crate) use migration_cases;

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        migrations()
    }
}

struct TwoOutboxes;

impl MigratorTrait for TwoOutboxes {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let billing = OutboxMigration::first().with_names(&billing());
        vec![Box::new(OutboxMigration::first()), Box::new(billing)]
    }
}

fn billing() -> TableNames {
    TableNames::new(None, "billing_").unwrap()
}

/// The tables are there, complete, and the store has nothing left to do.
async fn assert_migrated(store: &SeaOrmStore) {
    store.check().await.unwrap();
    assert_eq!(store.schema_check().await.unwrap(), []);
    assert_eq!(store.migrate().await.unwrap(), []);
}

async fn recorded(db: &DatabaseConnection) -> Vec<String> {
    select(db, "SELECT version FROM seaql_migrations ORDER BY version").await
}

pub(crate) async fn the_migrator_makes_the_tables<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let db = fixture.another().await;
    Migrator::up(&db, None).await.unwrap();
    let store = SeaOrmStore::new(&db);
    assert_migrated(&store).await;
    Migrator::up(&db, None).await.unwrap();
    assert_eq!(recorded(&db).await, ["m20261101_000001_outbox"]);
    let txn = db.begin().await.unwrap();
    fixture.writer.enqueue(&txn, &message()).await.unwrap();
    txn.commit().await.unwrap();
    assert!(!store.is_empty().await.unwrap());
}

/// Tables that `store.migrate()` has made stay as they are.
pub(crate) async fn the_migrator_finds_the_tables<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    fixture.enqueue(&[message()]).await;
    Migrator::up(&fixture.db, None).await.unwrap();
    assert_migrated(&fixture.store()).await;
    assert_eq!(fixture.fresh_ids().await.len(), 1);
    assert_eq!(recorded(&fixture.db).await, ["m20261101_000001_outbox"]);
}

pub(crate) async fn two_outboxes_have_their_migrations<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let db = fixture.another().await;
    TwoOutboxes::up(&db, None).await.unwrap();
    assert_migrated(&SeaOrmStore::new(&db)).await;
    assert_migrated(&SeaOrmStore::with_names(&db, billing())).await;
    assert_eq!(recorded(&db).await, ["m20261101_000001_billing_outbox", "m20261101_000001_outbox"]);
    TwoOutboxes::down(&db, Some(1)).await.unwrap();
    assert_migrated(&SeaOrmStore::new(&db)).await;
    assert!(SeaOrmStore::with_names(&db, billing()).check().await.is_err());
}

/// The migrator and the store at the same time: one makes the tables, the other sees that.
pub(crate) async fn two_migrations_at_once_make_the_tables_once<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let db = fixture.another().await;
    let store = SeaOrmStore::new(&db);
    let (migrator, store_did) = tokio::join!(Migrator::up(&db, None), store.migrate());
    migrator.unwrap();
    store_did.unwrap();
    assert_migrated(&store).await;
    assert_eq!(recorded(&db).await, ["m20261101_000001_outbox"]);
}

/// In a transaction of the caller's the tables are made by its commit; where the database can't do that, they are not
/// made at all.
pub(crate) async fn a_transaction_of_the_callers_is_respected<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let db = fixture.another().await;
    let txn = db.begin().await.unwrap();
    let up = Migrator::up(&txn, None).await;
    assert_eq!(up.is_ok(), DB::TABLES_ROLL_BACK, "{up:?}");
    if let Err(error) = up {
        assert!(error.to_string().contains("not in a transaction"), "{error}");
    }
    txn.rollback().await.unwrap();
    let store = SeaOrmStore::new(&db);
    assert_eq!(store.check().await.unwrap_err().kind(), StoreErrorKind::NotMigrated);
    if DB::TABLES_ROLL_BACK {
        let txn = db.begin().await.unwrap();
        Migrator::up(&txn, None).await.unwrap();
        txn.commit().await.unwrap();
        assert_migrated(&store).await;
    }
}

/// As long as there is a message the tables stay, wherever it is; then they go, and can come back.
pub(crate) async fn going_down_loses_no_message<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let db = &fixture.db;
    Migrator::up(db, None).await.unwrap();
    let sent = message();
    fixture.enqueue(std::slice::from_ref(&sent)).await;
    let error = Migrator::down(db, None).await.unwrap_err();
    assert!(error.to_string().contains("outbox_messages"), "{error}");
    assert_eq!(fixture.fresh_ids().await, [*sent.id()]);
    assert_eq!(recorded(db).await.len(), 1, "it is still up");
    assert_migrated(&fixture.store()).await;

    db.execute_unprepared("DELETE FROM outbox_messages").await.unwrap();
    Migrator::down(db, None).await.unwrap();
    assert!(recorded(db).await.is_empty());
    assert_eq!(fixture.store().migrate().await.unwrap().len(), 1, "everything was dropped");
    Migrator::refresh(db).await.unwrap();
    assert_migrated(&fixture.store()).await;
}

/// A message that is being written while the tables are to go is seen.
pub(crate) async fn going_down_waits_for_producers<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    Migrator::up(&fixture.db, None).await.unwrap();
    let (sent, db) = (message(), fixture.db.clone());
    let txn = fixture.db.begin().await.unwrap();
    fixture.writer.enqueue(&txn, &sent).await.unwrap();
    let down = tokio::spawn(async move { Migrator::down(&db, None).await });
    let early = tokio::time::timeout(Duration::from_millis(100), async {
        while !down.is_finished() {
            tokio::task::yield_now().await
        }
    });
    assert!(early.await.is_err(), "it waits");
    txn.commit().await.unwrap();
    let error = down.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("outbox_messages"), "{error}");
    assert_eq!(fixture.fresh_ids().await, [*sent.id()]);
}
