use std::borrow::Cow;

use outbox_core::Isolation;
use outbox_sql::{Dialect, TransactionStatements};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, IsolationLevel, RuntimeErr,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use tracing::Instrument;

/// What stands around a transaction of sea-orm's: the guarantees of [`TransactionStatements`], for a connection that is in
/// sea-orm's hands.
///
/// sea-orm begins by itself and lends nobody the connection, so what has to be different comes after its `BEGIN` and
/// before its `COMMIT`, and the connection can't be closed from here. That matters with MySQL and MariaDB, where
/// `autocommit` is off in the session for as long. A transaction that is dropped can't wait for a statement that turns
/// it on again: all that is sent is the `ROLLBACK` that sea-orm leaves behind. So the session is told, before
/// `autocommit` is turned off, that a `COMMIT` or `ROLLBACK` ends the connection (`completion_type`). Whoever ends the
/// transaction in order says otherwise (`NO RELEASE`), and sets both back in one statement. In every other case the
/// server closes the connection, and the pool finds it closed. That is also what ends a connection on which an answer was
/// cut off, and for which sqlx would wait for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    dialect: Dialect,
    statements: TransactionStatements,
}

/// What turns `autocommit` off in such a way that it can't outlive the transaction. The `BEGIN` of sea-orm's is given up
/// first: inside of a transaction no isolation level can be chosen.
const MYSQL_BEFORE_BEGIN: &str = "ROLLBACK; \
     SET @outbox_completion_type = @@SESSION.completion_type, \
     SESSION completion_type = 'RELEASE', SESSION autocommit = 0; ";
const MYSQL_COMMIT: &str = "RELEASE SAVEPOINT outbox_transaction; COMMIT NO RELEASE";
const MYSQL_ROLLBACK: &str = "ROLLBACK NO RELEASE; \
     SET SESSION autocommit = 1, SESSION completion_type = @outbox_completion_type";
const MYSQL_RESTORE: &str = "SET SESSION autocommit = 1, SESSION completion_type = @outbox_completion_type";

impl Frame {
    pub(crate) const fn new(dialect: Dialect) -> Self {
        Self { dialect, statements: TransactionStatements::new(dialect) }
    }

    /// Begins a transaction.
    ///
    /// With MySQL in a task of its own, because a `BEGIN` of sqlx that is cut off there would be carried out, and the
    /// connection would go back to the pool with an open transaction. Whoever is gone when it has begun has dropped it.
    pub(crate) async fn begin(
        self,
        db: &DatabaseConnection,
        isolation: Option<Isolation>,
    ) -> Result<DatabaseTransaction, DbErr> {
        if self.dialect != Dialect::MySql {
            return self.open(db, isolation).await;
        }
        let db = db.clone();
        let task = tokio::spawn(async move { self.open(&db, isolation).await }.in_current_span());
        match task.await {
            Ok(begun) => begun,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(DbErr::Conn(RuntimeErr::Internal(error.to_string()))),
            },
        }
    }

    async fn open(
        self,
        db: &DatabaseConnection,
        isolation: Option<Isolation>,
    ) -> Result<DatabaseTransaction, DbErr> {
        let transaction = db.begin_with_options(self.options(isolation)).await?;
        if let Some(sql) = self.after_begin(isolation) {
            transaction.execute_unprepared(&sql).await?;
        }
        Ok(transaction)
    }

    /// What sea-orm begins with.
    fn options(self, isolation: Option<Isolation>) -> TransactionOptions {
        let isolation = isolation.filter(|_| self.dialect == Dialect::Postgres);
        TransactionOptions {
            isolation_level: isolation.map(|isolation| match isolation {
                Isolation::ReadCommitted => IsolationLevel::ReadCommitted,
                Isolation::RepeatableRead => IsolationLevel::RepeatableRead,
                _ => IsolationLevel::Serializable,
            }),
            access_mode: None,
            // Databases that are not SQLite know nothing of it.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        }
    }

    fn after_begin(self, isolation: Option<Isolation>) -> Option<Cow<'static, str>> {
        match self.dialect {
            Dialect::MySql => {
                Some(Cow::Owned([MYSQL_BEFORE_BEGIN, self.statements.begin(isolation)].concat()))
            }
            Dialect::Sqlite => Some(Cow::Borrowed("SAVEPOINT outbox_transaction")),
            _ => None,
        }
    }

    /// To run before the messages are inserted, see [`TransactionStatements::check`].
    pub(crate) const fn check(self, messages: usize) -> Option<&'static str> {
        self.statements.check(messages)
    }

    /// The commit, where it is not sea-orm's. It is the last thing in it that can fail: an error means that nothing is
    /// committed. sea-orm's transaction is to be dropped after it.
    ///
    /// SQLite may end a transaction whose `COMMIT` fails. sea-orm's takes the transaction away with it, and what sqlx
    /// counts would be wrong for as long as the connection lives. So it is left with an empty one to roll back.
    pub(crate) const fn commit(self) -> Option<&'static str> {
        match self.dialect {
            Dialect::MySql => Some(MYSQL_COMMIT),
            Dialect::Sqlite => Some("COMMIT; BEGIN"),
            _ => None,
        }
    }

    /// What makes the session what it was, after [`Frame::commit`].
    pub(crate) const fn after_commit(self) -> Option<&'static str> {
        match self.dialect {
            Dialect::MySql => Some(MYSQL_RESTORE),
            _ => None,
        }
    }

    /// The rollback, where it is not sea-orm's, with what makes the session what it was. sea-orm's transaction is to be
    /// dropped after it, which is all it does in MySQL by then.
    pub(crate) const fn rollback(self) -> Option<&'static str> {
        match self.dialect {
            Dialect::MySql => Some(MYSQL_ROLLBACK),
            _ => None,
        }
    }

    /// To run before sea-orm's rollback, and to be ignored if it fails: SQLite may have ended the transaction by itself,
    /// and then sqlx would have nothing to roll back, and count one too many from then on.
    pub(crate) const fn before_rollback(self) -> Option<&'static str> {
        match self.dialect {
            Dialect::Sqlite => Some("BEGIN"),
            _ => None,
        }
    }
}
