//! Connections and URLs that lead to nothing the store can use.

use outbox_core::{OutboxStore, StoreErrorKind};
use outbox_seaorm::{SeaOrmStore, SeaOrmWriter};
use sea_orm::DatabaseConnection;

#[tokio::test]
async fn a_disconnected_connection_is_an_error_of_each_operation() {
    let store = SeaOrmStore::new(&DatabaseConnection::default());
    let error = store.is_empty().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    assert!(error.to_string().contains("disconnected"), "{error}");
    let error = SeaOrmWriter::new().begin(&DatabaseConnection::default()).await.unwrap_err();
    assert!(error.to_string().contains("disconnected"), "{error}");
}

#[test]
fn a_url_that_is_none_is_refused_and_not_repeated() {
    let secret = "hunter2canary";
    let mut urls = vec![format!("mssql://sa:{secret}@localhost/shop"), secret.to_owned()];
    if cfg!(feature = "postgres") {
        urls.push(format!("postgres://somebody:{secret}@host:99999/shop"));
    }
    if cfg!(feature = "mysql") {
        urls.push(format!("mysql://somebody:{secret}@host:99999/shop"));
    }
    for url in urls {
        let error = SeaOrmStore::from_url(&url).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error}");
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn a_feature_that_is_off_is_named() {
    for (scheme, feature, on) in [
        ("postgres", "postgres", cfg!(feature = "postgres")),
        ("mysql", "mysql", cfg!(feature = "mysql")),
        ("sqlite", "sqlite", cfg!(feature = "sqlite")),
    ] {
        let store = SeaOrmStore::from_url(&format!("{scheme}://localhost/shop"));
        if !on {
            let error = store.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert!(error.to_string().contains(&format!("feature `{feature}`")), "{error}");
        }
    }
}
