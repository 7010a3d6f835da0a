use outbox_core::Isolation;

use crate::Dialect;

/// One text, because a round trip costs more than all of its statements.
macro_rules! mysql_begin {
    ($isolation:literal) => {
        concat!("SET SESSION autocommit = 0; ", $isolation, "START TRANSACTION; SAVEPOINT outbox_transaction")
    };
}

/// What begins and ends a transaction of a producer in such a way that it is all or nothing, also when the caller
/// ignores an error in it.
///
/// What goes wrong without:
///
/// * PostgreSQL answers the `COMMIT` of a failed transaction with a `ROLLBACK` that drivers report as success. Any
///   statement before it fails: the insert of the messages, or else a statement for just that.
/// * MySQL and MariaDB roll the whole transaction back after a deadlock (1213), and commit each statement after it by
///   itself: the messages without the rows, or rows without messages. So the session's `autocommit` is off for as long,
///   and what comes after is a transaction that is not committed either: a savepoint that is gone tells it.
/// * SQLite ends a transaction by itself when its disk is full, or where a statement says `OR ROLLBACK`, and what
///   follows is committed at once. A savepoint tells it before the messages are inserted.
#[derive(Debug, Clone, Copy)]
pub struct TransactionStatements {
    dialect: Dialect,
}

impl TransactionStatements {
    /// Those of a database.
    #[must_use]
    pub const fn new(dialect: Dialect) -> Self {
        Self { dialect }
    }

    /// Begins. Several statements in one text, to be sent as a simple query.
    #[must_use]
    pub const fn begin(self, isolation: Option<Isolation>) -> &'static str {
        match self.dialect {
            Dialect::Postgres => match isolation {
                None => "BEGIN",
                Some(Isolation::ReadCommitted) => "BEGIN ISOLATION LEVEL READ COMMITTED",
                Some(Isolation::RepeatableRead) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
                Some(_) => "BEGIN ISOLATION LEVEL SERIALIZABLE",
            },
            Dialect::MySql => match isolation {
                None => mysql_begin!(""),
                Some(Isolation::ReadCommitted) => {
                    mysql_begin!("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; ")
                }
                Some(Isolation::RepeatableRead) => {
                    mysql_begin!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; ")
                }
                Some(_) => mysql_begin!("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; "),
            },
            // A transaction that reads first and writes then can't wait for another writer: it fails at once.
            Dialect::Sqlite => "BEGIN IMMEDIATE; SAVEPOINT outbox_transaction",
        }
    }

    /// To run before the messages are inserted, or where there are none before the commit: fails if the transaction is no
    /// longer the one that was begun. `None` where what follows fails by itself.
    #[must_use]
    pub const fn check(self, messages: usize) -> Option<&'static str> {
        match self.dialect {
            Dialect::Postgres if messages == 0 => Some("SELECT 1"),
            Dialect::Postgres | Dialect::MySql => None,
            Dialect::Sqlite => Some("RELEASE SAVEPOINT outbox_transaction; SAVEPOINT outbox_transaction"),
        }
    }

    /// The commit, where it is more than a `COMMIT`. Several statements in one text; if it fails, roll back. Another
    /// `COMMIT` after it does nothing.
    #[must_use]
    pub const fn commit(self) -> Option<&'static str> {
        match self.dialect {
            Dialect::MySql => {
                Some("RELEASE SAVEPOINT outbox_transaction; COMMIT; SET SESSION autocommit = 1")
            }
            Dialect::Postgres | Dialect::Sqlite => None,
        }
    }

    /// After a rollback: what [`TransactionStatements::begin`] has changed of the session. A connection on which this was
    /// not carried out must not be used again.
    #[must_use]
    pub const fn after_rollback(self) -> Option<&'static str> {
        match self.dialect {
            Dialect::MySql => Some("SET SESSION autocommit = 1"),
            Dialect::Postgres | Dialect::Sqlite => None,
        }
    }
}
