mod executor;
mod guard;
mod process;

use std::fmt;
use std::future::Future;

use outbox_core::{Admission, ConsumerName, InboxStore, MessageError, MessageId};
use outbox_sql::{Dialect, InboxStatements, TableNames};
use sea_orm::{DbBackend, DbErr};

pub use guard::InboxGuard;

use crate::{SeaOrmWriter, TransactionConnection, origin};
use executor::Executor;

/// The inbox of one consumer: remembers which messages it has handled, in the transaction of their effects. One inbox for
/// every database whose feature is on: the transaction knows which one it leads to.
///
/// There are three ways, from the most that is done for you to the least: [`SeaOrmInbox::process`] runs a body in a
/// transaction of its own, [`SeaOrmInbox::begin`] gives you that transaction, and [`SeaOrmInbox::admit`] works in yours.
///
/// Whoever comes while another transaction is at the same message gets [`Admission::Busy`]: with PostgreSQL at once, with
/// MariaDB after a second, with MySQL after the session's `innodb_lock_wait_timeout`. SQLite has one writer, and whoever
/// waits for it longer than the `busy_timeout` gets that error.
#[derive(Clone)]
pub struct SeaOrmInbox {
    postgres: Option<InboxStatements>,
    mysql: Option<InboxStatements>,
    sqlite: Option<InboxStatements>,
    consumer: ConsumerName,
    writer: SeaOrmWriter,
}

impl SeaOrmInbox {
    /// The inbox of this consumer in the table with the default name. Messages that its transactions take along go to the
    /// outbox with the default name.
    ///
    /// # Errors
    ///
    /// [`MessageError`] if the name is empty, longer than 255 bytes or has control characters.
    pub fn new(consumer: impl Into<Box<str>>) -> Result<Self, MessageError> {
        Self::with_names(consumer, &TableNames::default())
    }

    /// The same in tables with other names.
    ///
    /// # Errors
    ///
    /// As [`SeaOrmInbox::new`].
    pub fn with_names(consumer: impl Into<Box<str>>, names: &TableNames) -> Result<Self, MessageError> {
        let statements = |on: bool, dialect| on.then(|| InboxStatements::new(dialect, names));
        Ok(Self {
            postgres: statements(cfg!(feature = "postgres"), Dialect::Postgres),
            mysql: statements(cfg!(feature = "mysql"), Dialect::MySql),
            sqlite: statements(cfg!(feature = "sqlite"), Dialect::Sqlite),
            consumer: ConsumerName::new(consumer)?,
            writer: SeaOrmWriter::with_names(names),
        })
    }

    /// Writes the messages that its transactions take along through this writer: that of another outbox, or one that wakes
    /// the relay after each commit.
    #[must_use]
    pub fn writing_to(mut self, writer: SeaOrmWriter) -> Self {
        self.writer = writer;
        self
    }

    /// Whose inbox it is.
    #[must_use]
    pub const fn consumer(&self) -> &ConsumerName {
        &self.consumer
    }

    /// Records a message in the caller's transaction, and says whether it is fresh.
    ///
    /// If it is not [`Admission::Fresh`], roll back and apply no effects.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     db: sea_orm::DatabaseConnection,
    /// #     inbox: outbox_seaorm::SeaOrmInbox,
    /// #     id: outbox_core::MessageId,
    /// # ) -> Result<(), sea_orm::DbErr> {
    /// use outbox_core::Admission;
    /// use sea_orm::{ConnectionTrait, TransactionTrait};
    ///
    /// let txn = db.begin().await?;
    /// match inbox.admit(&txn, &id).await? {
    ///     Admission::Fresh => {
    ///         txn.execute_unprepared("UPDATE accounts SET balance = balance - 5 WHERE id = 7").await?;
    ///         txn.commit().await?;
    ///         // … acknowledge the message …
    ///     }
    ///     Admission::Duplicate => txn.rollback().await?, // … acknowledge the message …
    ///     Admission::Busy => txn.rollback().await?,      // … hand the message back …
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The database's. Roll the transaction back; after a conflict ([`is_conflict`](crate::is_conflict)) begin anew.
    /// [`DbErr::BackendNotSupported`] if the feature of this database is off.
    ///
    /// # Cancel safety
    ///
    /// No: roll the transaction back, see [`SeaOrmWriter::enqueue`].
    pub async fn admit(
        &self,
        connection: &impl TransactionConnection,
        id: &MessageId,
    ) -> Result<Admission, DbErr> {
        let (statements, mut executor) = self.through(connection)?;
        statements.admit(&mut executor, &self.consumer, id).await
    }

    /// Records many messages in the caller's transaction, and says of each whether it is fresh. Two statements if all of
    /// them are.
    ///
    /// # Errors
    ///
    /// As [`SeaOrmInbox::admit`].
    ///
    /// # Cancel safety
    ///
    /// As [`SeaOrmInbox::admit`].
    pub async fn admit_all(
        &self,
        connection: &impl TransactionConnection,
        ids: &[MessageId],
    ) -> Result<Vec<Admission>, DbErr> {
        let (statements, mut executor) = self.through(connection)?;
        statements.admit_all(&mut executor, &self.consumer, ids).await
    }

    /// The statements for the database that a connection leads to, and what runs them.
    fn through<'c, C: TransactionConnection>(
        &self,
        connection: &'c C,
    ) -> Result<(&InboxStatements, Executor<'c, C>), DbErr> {
        connection.check_transaction()?;
        let backend = connection.get_database_backend();
        let statements = match backend {
            DbBackend::Postgres => &self.postgres,
            DbBackend::MySql => &self.mysql,
            DbBackend::Sqlite => &self.sqlite,
            _ => &None,
        };
        let statements = statements.as_ref().ok_or_else(|| origin::feature_off(backend))?;
        Ok((statements, Executor { connection, backend }))
    }
}

/// For every transaction, so that a service can be generic over its inbox.
impl<C: TransactionConnection> InboxStore<C> for SeaOrmInbox {
    type Error = DbErr;

    fn admit(
        &self,
        connection: &mut C,
        id: &MessageId,
    ) -> impl Future<Output = Result<Admission, DbErr>> + Send {
        self.admit(&*connection, id)
    }

    fn admit_all(
        &self,
        connection: &mut C,
        ids: &[MessageId],
    ) -> impl Future<Output = Result<Vec<Admission>, DbErr>> + Send {
        self.admit_all(&*connection, ids)
    }
}

impl fmt::Debug for SeaOrmInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaOrmInbox").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}
