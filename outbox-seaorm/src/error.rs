use outbox_core::{StoreError, StoreErrorKind};
use sea_orm::{DbErr, RuntimeErr};

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use crate::sqlx_error;

/// The one place where an error of sea-orm becomes an error of the store.
///
/// Neither sea-orm nor sqlx puts connection options into errors, so neither text nor source can carry a password.
pub(crate) fn store_error(operation: &'static str, error: DbErr) -> StoreError {
    let (kind, text) = (kind(&error), text(&error));
    let text = match kind {
        StoreErrorKind::NotMigrated => format!("{text}; run `outbox migrate`"),
        StoreErrorKind::SchemaVersion => {
            format!("{text}; the tables are of another version, see `outbox schema check`")
        }
        _ => text,
    };
    StoreError::new(kind, operation, text).with_source(error)
}

/// An error while connecting to this address.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) fn connect_error(address: &str, error: DbErr) -> StoreError {
    let text = format!("can't connect to {address}: {}", text(&error));
    StoreError::new(kind(&error), "connect", text).with_source(error)
}

/// What happened, without sea-orm's words around it.
fn text(error: &DbErr) -> String {
    match error {
        DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error) => match error {
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            RuntimeErr::SqlxError(error) => sqlx_error::text(error),
            error => error.to_string(),
        },
        error => error.to_string(),
    }
}

fn kind(error: &DbErr) -> StoreErrorKind {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(RuntimeErr::Internal(_)) => StoreErrorKind::Unavailable,
        DbErr::BackendNotSupported { .. } => StoreErrorKind::Invalid,
        #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => sqlx_error::kind(error),
        _ => StoreErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnAcquireErr;

    use super::*;

    #[test]
    fn a_lost_connection_is_unavailable() {
        for error in [
            DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
            DbErr::Conn(RuntimeErr::Internal("no answer within 30 s".to_owned())),
        ] {
            assert_eq!(store_error("test", error).kind(), StoreErrorKind::Unavailable);
        }
    }

    #[test]
    fn a_feature_that_is_off_is_invalid() {
        let error = DbErr::BackendNotSupported { db: "MySql", ctx: "its feature is off" };
        let error = store_error("test", error);
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert!(error.to_string().contains("its feature is off"), "{error}");
    }
}
