use std::sync::Arc;

use outbox_core::StoreErrorKind;
use outbox_sql::ErrorCode;
use sea_orm::sqlx::{self, error::DatabaseError};
use sea_orm::{DbErr, RuntimeErr};

/// An error while connecting, as sea-orm has it.
pub(crate) fn connecting(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
}

/// An error while reading, as sea-orm has it.
pub(crate) fn reading(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)))
}

/// What happened, without sqlx's words around it.
pub(crate) fn text(error: &sqlx::Error) -> String {
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

/// What it means.
pub(crate) fn kind(error: &sqlx::Error) -> StoreErrorKind {
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

/// Whether a database says by it that a fresh attempt may succeed. `None` if it is no database's.
pub(crate) fn is_conflict(error: &sqlx::Error) -> Option<bool> {
    let sqlx::Error::Database(error) = error else {
        return None;
    };
    Some(code(&**error).is_some_and(ErrorCode::is_conflict))
}

/// Whether it says that the transaction in which it happened had been ended by the database before.
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
            assert_eq!(kind(&error), StoreErrorKind::Unavailable);
        }
    }
}
