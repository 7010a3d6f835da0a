use std::error::Error;

use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::ErrorCode;
use sqlx::error::DatabaseError;

/// The one place where an error of sqlx becomes an error of the store.
///
/// sqlx puts no connection options into its errors, so neither text nor source can carry a password.
pub(crate) fn store_error(operation: &'static str, error: sqlx::Error) -> StoreError {
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
pub(crate) fn connect_error(address: &str, error: sqlx::Error) -> StoreError {
    let text = format!("can't connect to {address}: {}", text(&error));
    StoreError::new(kind(&error), "connect", text).with_source(error)
}

/// What happened, without sqlx's words around it.
fn text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Database(error) => {
            #[cfg(feature = "postgres")]
            if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                // Its own text ends with a line number of the server's source.
                return format!("{} ({})", error.message(), error.code());
            }
            error.to_string()
        }
        error => error.to_string(),
    }
}

fn kind(error: &sqlx::Error) -> StoreErrorKind {
    use sqlx::Error;
    match error {
        Error::Io(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::BeginFailed => StoreErrorKind::Unavailable,
        // What a server says that goes down in the middle of an answer.
        Error::Protocol(_) => StoreErrorKind::Unavailable,
        Error::Configuration(_) | Error::InvalidArgument(_) => StoreErrorKind::Invalid,
        Error::Database(error) => code(&**error).map_or(StoreErrorKind::Other, ErrorCode::kind),
        _ => StoreErrorKind::Other,
    }
}

/// Whether an error, or what caused it, is a conflict: by it the database says that the transaction was not wrong, only
/// unlucky, and that a fresh attempt may succeed. A serialization failure, a deadlock, a lock that was not granted in time,
/// a busy SQLite.
#[must_use]
pub fn is_conflict(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(sqlx::Error::Database(error)) = error.downcast_ref::<sqlx::Error>() {
            return code(&**error).is_some_and(ErrorCode::is_conflict);
        }
        next = error.source();
    }
    false
}

/// Whether the error says that the transaction in which it happened had been ended by the database before.
pub(crate) fn has_ended(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    code(&**error).is_some_and(ErrorCode::has_ended)
}

/// Whether it says that a lock was not granted in time.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    code(&**error).is_some_and(ErrorCode::is_lock_timeout)
}

/// Whether the connection is gone, and with it the answer.
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    kind(error) == StoreErrorKind::Unavailable
}

/// What the database itself calls it.
fn code(error: &dyn DatabaseError) -> Option<ErrorCode<'_>> {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return Some(ErrorCode::Postgres(error.code()));
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return Some(ErrorCode::MySql(error.number()));
    }
    #[cfg(feature = "sqlite")]
    if let Some(error) = error.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
        let code = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
        return Some(ErrorCode::Sqlite(code, error.message()));
    }
    let _ = error;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_unavailable() {
        for error in [
            sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
            sqlx::Error::PoolTimedOut,
            sqlx::Error::BeginFailed,
        ] {
            assert_eq!(store_error("test", error).kind(), StoreErrorKind::Unavailable);
        }
    }
}
