use std::error::Error;

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

/// Whether an error, or what caused it, is a conflict: by it the database says that the transaction was not wrong, only
/// unlucky, and that a fresh attempt may succeed. A serialization failure, a deadlock, a lock that was not granted in time,
/// a busy SQLite.
///
/// sea-orm does not say what its errors were caused by; it is looked up in them. That goes for [`DbErr`], and for the
/// error of a nested transaction's closure that returns one.
#[must_use]
pub fn is_conflict(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(conflict) = conflict(error) {
            return conflict;
        }
        next = error.source();
    }
    false
}

/// `None` if the error itself is no database's.
fn conflict(error: &(dyn Error + 'static)) -> Option<bool> {
    use sea_orm::TransactionError;
    let error = match error.downcast_ref::<TransactionError<DbErr>>() {
        Some(TransactionError::Connection(error) | TransactionError::Transaction(error)) => error,
        None => error,
    };
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    {
        let native = match error.downcast_ref::<DbErr>() {
            Some(error) => of_sqlx(error),
            None => error.downcast_ref::<sea_orm::sqlx::Error>(),
        };
        native.and_then(sqlx_error::is_conflict)
    }
    #[cfg(not(any(feature = "mysql", feature = "postgres", feature = "sqlite")))]
    {
        let _ = error;
        None
    }
}

/// Whether the error says that the transaction in which it happened had been ended by the database before.
pub(crate) fn has_ended(error: &DbErr) -> bool {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    if let Some(error) = of_sqlx(error) {
        return sqlx_error::has_ended(error);
    }
    let _ = error;
    false
}

/// Whether it says that a lock was not granted in time.
pub(crate) fn is_lock_timeout(error: &DbErr) -> bool {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    if let Some(error) = of_sqlx(error) {
        return sqlx_error::is_lock_timeout(error);
    }
    let _ = error;
    false
}

/// Whether the connection is gone, and with it the answer.
pub(crate) fn is_lost(error: &DbErr) -> bool {
    kind(error) == StoreErrorKind::Unavailable
}

/// The error of sqlx inside.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
fn of_sqlx(error: &DbErr) -> Option<&sea_orm::sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
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
