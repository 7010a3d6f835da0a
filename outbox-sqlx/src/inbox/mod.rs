mod executor;
mod guard;
mod process;

use std::fmt;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use outbox_core::InboxStore;
use outbox_core::{Admission, ConsumerName, MessageError, MessageId};
use outbox_sql::{InboxStatements, TableNames};

pub use guard::InboxGuard;

use crate::{Backend, SqlxWriter};
use executor::Executor;

/// The inbox of one consumer: remembers which messages it has handled, in the transaction of their effects.
///
/// Use it by its names [`crate::PostgresInbox`], [`crate::MySqlInbox`] and [`crate::SqliteInbox`]. There are three ways, from
/// the most that is done for you to the least: [`SqlxInbox::process`] runs a body in a transaction of its own,
/// [`SqlxInbox::begin`] gives you that transaction, and [`SqlxInbox::admit`] works in yours.
///
/// Whoever comes while another transaction is at the same message gets [`Admission::Busy`]: with PostgreSQL at once, with
/// MariaDB after a second, with MySQL after the session's `innodb_lock_wait_timeout`. SQLite has one writer, and whoever
/// waits for it longer than the `busy_timeout` gets that error.
pub struct SqlxInbox<DB: Backend> {
    statements: InboxStatements,
    consumer: ConsumerName,
    writer: SqlxWriter<DB>,
}

impl<DB: Backend> SqlxInbox<DB> {
    /// The inbox of this consumer in the table with the default name. Messages that its transactions take along go to the
    /// outbox with the default name.
    ///
    /// Whoever uses the same name in the same table is the same consumer: what one has handled, the other takes for a
    /// duplicate.
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
    /// As [`SqlxInbox::new`].
    pub fn with_names(consumer: impl Into<Box<str>>, names: &TableNames) -> Result<Self, MessageError> {
        Ok(Self {
            statements: InboxStatements::new(DB::DIALECT, names),
            consumer: ConsumerName::new(consumer)?,
            writer: SqlxWriter::with_names(names),
        })
    }

    /// Writes the messages that its transactions take along through this writer: that of another outbox, or one that wakes
    /// the relay after each commit.
    #[must_use]
    pub fn writing_to(mut self, writer: SqlxWriter<DB>) -> Self {
        self.writer = writer;
        self
    }

    /// Whose inbox it is.
    #[must_use]
    pub const fn consumer(&self) -> &ConsumerName {
        &self.consumer
    }

    /// Records a message in the caller's transaction, and says whether it is fresh. With sqlx the connection of a
    /// transaction is `&mut *tx`.
    ///
    /// If it is not [`Admission::Fresh`], roll back and apply no effects.
    ///
    /// # Errors
    ///
    /// The database's. Roll the transaction back; after a conflict ([`is_conflict`](crate::is_conflict)) begin anew.
    ///
    /// # Cancel safety
    ///
    /// No: roll the transaction back, see [`SqlxWriter::enqueue`].
    pub async fn admit(
        &self,
        connection: &mut DB::Connection,
        id: &MessageId,
    ) -> Result<Admission, sqlx::Error> {
        self.statements.admit(&mut Executor::<DB>(connection), &self.consumer, id).await
    }

    /// Records many messages in the caller's transaction, and says of each whether it is fresh. Three statements for up to
    /// 1,000 that are (MySQL, MariaDB and SQLite: 256), one or two for each if some are not. Where some are busy, one is
    /// waited for and no other.
    ///
    /// With PostgreSQL every message takes a lock in the memory that all transactions of the server share (its
    /// `max_locks_per_transaction` says how many there are): not many thousands in one transaction.
    ///
    /// # Errors
    ///
    /// As [`SqlxInbox::admit`].
    ///
    /// # Cancel safety
    ///
    /// As [`SqlxInbox::admit`].
    pub async fn admit_all(
        &self,
        connection: &mut DB::Connection,
        ids: &[MessageId],
    ) -> Result<Vec<Admission>, sqlx::Error> {
        self.statements.admit_all(&mut Executor::<DB>(connection), &self.consumer, ids).await
    }
}

/// Not once for all databases, for the sake of the compiler's messages: see the writer.
macro_rules! admits_through {
    ($feature:literal, $database:ty, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl InboxStore<$connection> for SqlxInbox<$database> {
            type Error = sqlx::Error;

            fn admit(
                &self,
                connection: &mut $connection,
                id: &MessageId,
            ) -> impl Future<Output = Result<Admission, sqlx::Error>> + Send {
                self.admit(connection, id)
            }

            fn admit_all(
                &self,
                connection: &mut $connection,
                ids: &[MessageId],
            ) -> impl Future<Output = Result<Vec<Admission>, sqlx::Error>> + Send {
                self.admit_all(connection, ids)
            }
        }
    };
}

admits_through!("postgres", sqlx::Postgres, sqlx::PgConnection);
admits_through!("mysql", sqlx::MySql, sqlx::MySqlConnection);
admits_through!("sqlite", sqlx::Sqlite, sqlx::SqliteConnection);

impl<DB: Backend> Clone for SqlxInbox<DB> {
    fn clone(&self) -> Self {
        Self {
            statements: self.statements.clone(),
            consumer: self.consumer.clone(),
            writer: self.writer.clone(),
        }
    }
}

impl<DB: Backend> fmt::Debug for SqlxInbox<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlxInbox").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}
