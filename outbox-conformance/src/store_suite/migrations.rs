//! The tables themselves.

use std::sync::Arc;

use outbox_core::{OutboxAdmin, OutboxStore, StoreErrorKind};

use super::relay::TestRelay;
use crate::StoreFixture;

/// Without tables a store says so: the way out is in the error.
pub async fn a_store_without_tables_says_so<F: StoreFixture>(fixture: Arc<F>) {
    let store = fixture.unmigrated().await;
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotMigrated, "{error}");
    assert!(!error.is_retryable());
    let relay = TestRelay::idle(&*fixture).await;
    let error = store.renew(&relay.request(super::relay::LONG)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotMigrated, "{error}");
    assert!(!store.schema_check().await.unwrap().is_empty(), "something is missing");
}

/// Migrations are applied once; a second run applies nothing, and the tables are as they should be.
pub async fn migrations_are_applied_once<F: StoreFixture>(fixture: Arc<F>) {
    let store = fixture.unmigrated().await;
    let applied = store.migrate().await.unwrap();
    assert!(!applied.is_empty());
    assert!(applied.is_sorted_by(|a, b| a.version < b.version));
    assert!(applied.iter().all(|migration| !migration.name.is_empty()));
    assert_eq!(store.migrate().await.unwrap(), []);
    store.check().await.unwrap();
    assert_eq!(store.schema_check().await.unwrap(), []);
    assert!(store.is_empty().await.unwrap());
    let migrated = fixture.store();
    migrated.check().await.unwrap();
    assert_eq!(migrated.schema_check().await.unwrap(), []);
}

/// Two that migrate at the same time do not disturb each other; each migration is applied by one of them.
pub async fn two_migrate_at_once<F: StoreFixture>(fixture: Arc<F>) {
    let known = fixture.unmigrated().await.migrate().await.unwrap();
    for _ in 0..3 {
        let store = fixture.unmigrated().await;
        let migrating: Vec<_> = (0..2)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.migrate().await.unwrap() })
            })
            .collect();
        let mut applied = Vec::new();
        for migration in migrating {
            applied.extend(migration.await.unwrap());
        }
        applied.sort_by_key(|migration| migration.version);
        assert_eq!(applied, known);
        assert_eq!(store.schema_check().await.unwrap(), []);
    }
}
