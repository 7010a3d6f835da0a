use outbox_core::StoreErrorKind;

/// How a database itself names an error, for an ORM that passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode<'a> {
    /// The SQLSTATE of PostgreSQL.
    Postgres(&'a str),
    /// The number of MySQL and MariaDB.
    MySql(u16),
    /// The extended code of SQLite, and its message.
    Sqlite(i32, &'a str),
}

impl ErrorCode<'_> {
    /// What it means to a store.
    #[must_use]
    pub fn kind(self) -> StoreErrorKind {
        match self {
            Self::Postgres(sqlstate) => postgres_kind(sqlstate),
            Self::MySql(number) => mysql_kind(number),
            Self::Sqlite(code, message) => sqlite_kind(code, message),
        }
    }

    /// Whether the database says that a transaction was not wrong, only unlucky: a serialization failure, a deadlock, a
    /// lock that was not granted in time, a busy SQLite. A statement that took too long is none.
    #[must_use]
    pub fn is_conflict(self) -> bool {
        match self {
            Self::Postgres(sqlstate) => matches!(sqlstate, "40001" | "40P01" | "55P03"),
            Self::MySql(number) => matches!(number, 1213 | 1205 | 1020 | 3572),
            Self::Sqlite(code, _) => matches!(code & 0xff, 5 | 6),
        }
    }

    /// Whether it says that a lock was not granted in time. MySQL and MariaDB take back the statement then, and leave the
    /// transaction as it was; PostgreSQL ends it.
    #[must_use]
    pub fn is_lock_timeout(self) -> bool {
        match self {
            Self::Postgres(sqlstate) => sqlstate == "55P03",
            Self::MySql(number) => matches!(number, 1205 | 3572),
            Self::Sqlite(..) => false,
        }
    }

    /// Whether the transaction in which it happened had been ended by the database before.
    #[must_use]
    pub fn has_ended(self) -> bool {
        match self {
            Self::Postgres(sqlstate) => sqlstate == "25P02",
            // No such savepoint.
            Self::MySql(number) => number == 1305,
            Self::Sqlite(_, message) => message.starts_with("no such savepoint"),
        }
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

    #[test]
    fn a_transaction_that_was_unlucky_is_told_from_one_that_was_ended() {
        for code in [ErrorCode::Postgres("40001"), ErrorCode::MySql(1213), ErrorCode::Sqlite(5 | 2 << 8, "")]
        {
            assert!(code.is_conflict() && !code.has_ended(), "{code:?}");
        }
        let gone = ErrorCode::Sqlite(1, "no such savepoint: outbox_transaction");
        for code in [ErrorCode::Postgres("25P02"), ErrorCode::MySql(1305), gone] {
            assert!(!code.is_conflict() && code.has_ended(), "{code:?}");
        }
        assert!(!ErrorCode::Postgres("57014").is_conflict(), "a time-out of a statement");
    }
}
