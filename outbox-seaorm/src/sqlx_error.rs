use std::sync::Arc;

use outbox_core::StoreErrorKind;
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
        Error::Database(error) => database_kind(&**error),
        _ => StoreErrorKind::Other,
    }
}

/// Whether a database says by it that a fresh attempt may succeed. `None` if it is no database's.
pub(crate) fn is_conflict(error: &sqlx::Error) -> Option<bool> {
    let sqlx::Error::Database(error) = error else {
        return None;
    };
    Some(match native(&**error) {
        Native::Postgres(code) => matches!(code, "40001" | "40P01" | "55P03"),
        Native::MySql(number) => matches!(number, 1213 | 1205 | 1020 | 3572),
        Native::Sqlite(code) => matches!(code & 0xff, 5 | 6),
        Native::Other => false,
    })
}

/// Whether it says that the transaction in which it happened had been ended by the database before.
pub(crate) fn has_ended(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    match native(&**error) {
        Native::Postgres(code) => code == "25P02",
        // No such savepoint.
        Native::MySql(number) => number == 1305,
        Native::Sqlite(_) => error.message().starts_with("no such savepoint"),
        Native::Other => false,
    }
}

/// How a database itself numbers its errors.
enum Native<'a> {
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "not compiled in"))]
    Postgres(&'a str),
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "not compiled in"))]
    MySql(u16),
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "not compiled in"))]
    Sqlite(i32),
    Other,
}

fn native(error: &dyn DatabaseError) -> Native<'_> {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return Native::Postgres(error.code());
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return Native::MySql(error.number());
    }
    #[cfg(feature = "sqlite")]
    if let Some(error) = error.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
        return Native::Sqlite(error.code().and_then(|code| code.parse().ok()).unwrap_or(0));
    }
    let _ = error;
    Native::Other
}

fn database_kind(error: &dyn DatabaseError) -> StoreErrorKind {
    match native(error) {
        Native::Postgres(code) => postgres_kind(code),
        Native::MySql(number) => mysql_kind(number),
        Native::Sqlite(code) => sqlite_kind(code, error.message()),
        Native::Other => StoreErrorKind::Other,
    }
}

fn postgres_kind(sqlstate: &str) -> StoreErrorKind {
    match sqlstate {
        // Serialization failure, deadlock, lock not available, statement time-out.
        "40001" | "40P01" | "55P03" | "57014" => StoreErrorKind::Conflict,
        // Undefined table, undefined schema.
        "42P01" | "3F000" => StoreErrorKind::NotMigrated,
        "42703" => StoreErrorKind::SchemaVersion,
        // Shutting down or starting up, idle session ended, too many connections. A read-only transaction: this is a
        // standby now, and a new connection may find the new primary.
        "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "25006" => StoreErrorKind::Unavailable,
        code if code.starts_with("08") => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Other,
    }
}

fn mysql_kind(number: u16) -> StoreErrorKind {
    match number {
        // Deadlock, lock wait time-out, record changed since the snapshot, lock not available at once, statement time-out.
        1213 | 1205 | 1020 | 3572 | 1969 | 3024 => StoreErrorKind::Conflict,
        1146 => StoreErrorKind::NotMigrated,
        1054 => StoreErrorKind::SchemaVersion,
        // Too many connections, shutting down, network trouble, connection killed; read-only: this is a replica now.
        1040 | 1053 | 1158..=1161 | 1203 | 1927 | 1290 | 1792 | 1836 => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Other,
    }
}

fn sqlite_kind(code: i32, message: &str) -> StoreErrorKind {
    // The low byte is the primary code, the rest tells its variants apart.
    match code & 0xff {
        // Busy, locked.
        5 | 6 => StoreErrorKind::Conflict,
        // The file can't be opened.
        14 => StoreErrorKind::Unavailable,
        _ if message.starts_with("no such table") => StoreErrorKind::NotMigrated,
        _ if message.starts_with("no such column") || message.contains("has no column named") => {
            StoreErrorKind::SchemaVersion
        }
        _ => StoreErrorKind::Other,
    }
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

    #[test]
    fn sqlstates_have_their_kind() {
        let cases = [
            ("40001", StoreErrorKind::Conflict),
            ("40P01", StoreErrorKind::Conflict),
            ("55P03", StoreErrorKind::Conflict),
            ("42P01", StoreErrorKind::NotMigrated),
            ("42703", StoreErrorKind::SchemaVersion),
            ("08006", StoreErrorKind::Unavailable),
            ("57P01", StoreErrorKind::Unavailable),
            ("42501", StoreErrorKind::Other),
        ];
        for (code, expected) in cases {
            assert_eq!(postgres_kind(code), expected, "{code}");
        }
    }

    #[test]
    fn error_numbers_have_their_kind() {
        let cases = [
            (1213, StoreErrorKind::Conflict),
            (1205, StoreErrorKind::Conflict),
            (1020, StoreErrorKind::Conflict),
            (1146, StoreErrorKind::NotMigrated),
            (1040, StoreErrorKind::Unavailable),
            (1142, StoreErrorKind::Other),
        ];
        for (number, expected) in cases {
            assert_eq!(mysql_kind(number), expected, "{number}");
        }
    }
}
