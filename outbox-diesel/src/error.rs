use diesel::result::{ConnectionError, DatabaseErrorKind, Error};
use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::Dialect;

/// The one place where an error of diesel becomes an error of the store.
///
/// An error of a statement has no options of the connection in it, so neither text nor source can carry a password.
pub(crate) fn store_error(dialect: Dialect, operation: &'static str, error: Error) -> StoreError {
    let kind = kind(dialect, &error);
    let text = match kind {
        StoreErrorKind::NotMigrated => format!("{error}; run `outbox migrate`"),
        StoreErrorKind::SchemaVersion => {
            format!("{error}; the tables are of another version, see `outbox schema check`")
        }
        _ => error.to_string(),
    };
    StoreError::new(kind, operation, text).with_source(error)
}

/// An error while connecting to this address. The caller has made sure that it has no password in it, and the driver's
/// error is no source of this one: some repeat the URL.
pub(crate) fn connect_error(dialect: Dialect, address: &str, error: &ConnectionError) -> StoreError {
    let text = error.to_string();
    let text = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let kind = match error {
        ConnectionError::InvalidConnectionUrl(_) | ConnectionError::InvalidCString(_) => {
            StoreErrorKind::Invalid
        }
        ConnectionError::CouldntSetupConfiguration(error) => kind(dialect, error),
        _ if REFUSED.iter().any(|refused| text.contains(refused)) => StoreErrorKind::Other,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, "connect", format!("can't connect to {address}: {text}"))
}

/// An operation that took longer than it may.
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
pub(crate) fn timed_out(operation: &'static str, limit: std::time::Duration) -> StoreError {
    let text = format!("no answer within {} s", limit.as_secs());
    StoreError::new(StoreErrorKind::Unavailable, operation, text)
}

/// Answers to a log-in that another try will not change.
const REFUSED: [&str; 6] = [
    "authentication failed",
    "no pg_hba.conf entry",
    // PostgreSQL: a role or a database.
    "\" does not exist",
    "permission denied",
    // MySQL and MariaDB.
    "Access denied",
    "Unknown database",
];

fn kind(dialect: Dialect, error: &Error) -> StoreErrorKind {
    match error {
        Error::DatabaseError(kind, information) => match kind {
            DatabaseErrorKind::SerializationFailure => StoreErrorKind::Conflict,
            // The connection is gone, or was before the statement. A read-only transaction: this is a standby now, and a
            // new connection may find the new primary.
            DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::ReadOnlyTransaction => StoreErrorKind::Unavailable,
            _ => text_kind(dialect, information.message()),
        },
        Error::RollbackErrorOnCommit { commit_error, .. } => kind(dialect, commit_error),
        Error::BrokenTransactionManager => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Other,
    }
}

/// Whether an error, or what caused it, is a conflict: by it the database says that the transaction was not wrong, only
/// unlucky, and that a fresh attempt may succeed. A serialization failure, a deadlock, a lock that was not granted in time,
/// a busy SQLite.
///
/// diesel names the serialization failure of PostgreSQL and the deadlock of MySQL and MariaDB; the others are told by the
/// database's text, if it is English.
#[must_use]
pub fn is_conflict(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return conflicts(error);
        }
        next = error.source();
    }
    false
}

fn conflicts(error: &Error) -> bool {
    match error {
        Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => true,
        Error::DatabaseError(_, information) => {
            let text = information.message();
            CONFLICTS.iter().any(|(start, part)| text.starts_with(start) && text.contains(part))
        }
        Error::RollbackErrorOnCommit { commit_error, .. } => conflicts(commit_error),
        _ => false,
    }
}

/// Whether the error says that the transaction in which it happened had been ended by the database before. Only for the
/// statements of [`outbox_sql::TransactionStatements`] and those after them.
pub(crate) fn has_ended(error: &Error) -> bool {
    let Error::DatabaseError(_, information) = error else {
        return false;
    };
    let text = information.message();
    // MySQL, MariaDB and SQLite name, in whatever language, the savepoint that is gone.
    let mut words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    text.starts_with("current transaction is aborted") || words.any(|word| word == "outbox_transaction")
}

/// Whether it says that a lock was not granted in time.
pub(crate) fn is_lock_timeout(error: &Error) -> bool {
    let Error::DatabaseError(_, information) = error else {
        return false;
    };
    LOCK_TIMEOUTS.iter().any(|start| information.message().starts_with(start))
}

/// Whether the connection is gone, and with it the answer.
pub(crate) fn is_lost(dialect: Dialect, error: &Error) -> bool {
    kind(dialect, error) == StoreErrorKind::Unavailable
}

/// What the database's own text says: diesel keeps the number of the error to itself. MySQL and MariaDB are told to speak
/// English ([`ENGLISH`]), and so does SQLite. PostgreSQL lets only a superuser choose, and what a server says in another
/// language is [`StoreErrorKind::Other`], which the relay tries again like a conflict; the loss of a connection does not
/// depend on the language.
fn text_kind(dialect: Dialect, text: &str) -> StoreErrorKind {
    let kinds = match dialect {
        Dialect::Postgres => POSTGRES,
        Dialect::MySql => MYSQL,
        Dialect::Sqlite => SQLITE,
        _ => &[],
    };
    let found = kinds.iter().find(|(start, part, _)| text.starts_with(start) && text.contains(part));
    found.map_or(StoreErrorKind::Other, |(_, _, kind)| *kind)
}

/// How a text begins, what else is in it, and what it means.
type Kinds = &'static [(&'static str, &'static str, StoreErrorKind)];

/// Makes [`text_kind`] work, also on a server whose language is another.
#[cfg(any(feature = "mysql", feature = "async-mysql"))]
pub(crate) const ENGLISH: &str = "SET SESSION lc_messages = 'en_US'";

/// How the text of a conflict begins, and what else is in it. Fewer than those that make the relay try again: a statement
/// time-out of the user's is his own.
const CONFLICTS: &[(&str, &str)] = &[
    // PostgreSQL: 40P01, 40001, 55P03.
    ("deadlock detected", ""),
    ("could not serialize access", ""),
    ("could not obtain lock", ""),
    ("canceling statement due to lock timeout", ""),
    // MySQL and MariaDB: 1213, 1205, 1020, 3572.
    ("Deadlock found", ""),
    ("Lock wait timeout exceeded", ""),
    ("Record has changed since last read", ""),
    ("Statement aborted because lock(s)", ""),
    // SQLite: 5, 6.
    ("database", "is locked"),
];

/// How the text of a lock that was not granted in time begins, with MySQL and MariaDB: 1205, 3572.
const LOCK_TIMEOUTS: [&str; 2] = ["Lock wait timeout exceeded", "Statement aborted because lock(s)"];

const POSTGRES: Kinds = &[
    // 40P01, 40001.
    ("deadlock detected", "", StoreErrorKind::Conflict),
    ("could not serialize access", "", StoreErrorKind::Conflict),
    // 55P03, 57014: locks and statement time-outs.
    ("could not obtain lock", "", StoreErrorKind::Conflict),
    ("canceling statement due to", "", StoreErrorKind::Conflict),
    // 42703 before 42P01: a column's text may name its relation.
    ("column ", " does not exist", StoreErrorKind::SchemaVersion),
    ("relation ", " does not exist", StoreErrorKind::NotMigrated),
    ("schema ", " does not exist", StoreErrorKind::NotMigrated),
    // 57P01 to 57P05, 25P03: the session is ended, or can't begin.
    ("terminating connection", "", StoreErrorKind::Unavailable),
    ("the database system is", "", StoreErrorKind::Unavailable),
    // 53300.
    ("sorry, too many clients", "", StoreErrorKind::Unavailable),
    ("too many connections", "", StoreErrorKind::Unavailable),
    ("remaining connection slots", "", StoreErrorKind::Unavailable),
    // Texts of the client.
    ("connection closed", "", StoreErrorKind::Unavailable),
    ("server closed the connection", "", StoreErrorKind::Unavailable),
];

const MYSQL: Kinds = &[
    // 1213, 1205.
    ("Deadlock found", "", StoreErrorKind::Conflict),
    ("Lock wait timeout exceeded", "", StoreErrorKind::Conflict),
    // 1020, 3572, 1969 and 3024.
    ("Record has changed since last read", "", StoreErrorKind::Conflict),
    ("Statement aborted because lock(s)", "", StoreErrorKind::Conflict),
    ("Query execution was interrupted", "execution time", StoreErrorKind::Conflict),
    ("Query execution was interrupted", "max_statement_time", StoreErrorKind::Conflict),
    // 1146, 1054.
    ("Table ", "doesn't exist", StoreErrorKind::NotMigrated),
    ("Unknown column", "", StoreErrorKind::SchemaVersion),
    // 1040, 1203, 1053, 1927, 1158 to 1161.
    ("Too many connections", "", StoreErrorKind::Unavailable),
    ("User ", "max_user_connections", StoreErrorKind::Unavailable),
    ("Server shutdown in progress", "", StoreErrorKind::Unavailable),
    ("Connection was killed", "", StoreErrorKind::Unavailable),
    ("Got ", "communication packets", StoreErrorKind::Unavailable),
    ("Got packets out of order", "", StoreErrorKind::Unavailable),
    // 1290, 1836, 1792: this is a replica now.
    ("Cannot execute statement in a READ ONLY transaction", "", StoreErrorKind::Unavailable),
    ("The M", "--read-only option", StoreErrorKind::Unavailable),
    ("The M", "--super-read-only option", StoreErrorKind::Unavailable),
    ("Running in read-only mode", "", StoreErrorKind::Unavailable),
    // 2006, 2013 and others: texts of the client libraries. Those of the Rust driver follow.
    ("", "erver has gone away", StoreErrorKind::Unavailable),
    ("Lost connection to", "", StoreErrorKind::Unavailable),
    ("Can't connect to", "", StoreErrorKind::Unavailable),
    ("Malformed packet", "", StoreErrorKind::Unavailable),
    ("Input/output error", "", StoreErrorKind::Unavailable),
    ("Driver error", "onnection", StoreErrorKind::Unavailable),
];

const SQLITE: Kinds = &[
    ("database", "is locked", StoreErrorKind::Conflict),
    ("unable to open database", "", StoreErrorKind::Unavailable),
    ("no such table", "", StoreErrorKind::NotMigrated),
    ("no such column", "", StoreErrorKind::SchemaVersion),
    ("table ", "has no column named", StoreErrorKind::SchemaVersion),
];

#[cfg(all(test, any(feature = "postgres", feature = "mysql", feature = "sqlite")))]
mod texts;
