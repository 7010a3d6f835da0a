mod executor;
mod guard;
mod process;

use std::fmt;

use diesel::result::Error;
use diesel::{Connection, QueryResult};
use outbox_core::{Admission, BlockingInboxStore, ConsumerName, MessageError, MessageId};
use outbox_sql::{InboxStatements, TableNames};

pub use guard::InboxGuard;

use crate::{Backend, DieselWriter};
use executor::{Executor, done};

/// The inbox of one consumer: remembers which messages it has handled, in the transaction of their effects.
///
/// Use it by its names [`crate::PostgresInbox`], [`crate::MySqlInbox`] and [`crate::SqliteInbox`]. There are three ways, from
/// the most that is done for you to the least: [`DieselInbox::process`] runs a body in a transaction of its own,
/// [`DieselInbox::begin`] gives you that transaction, and [`DieselInbox::admit`] works in yours.
///
/// Whoever comes while another transaction is at the same message gets [`Admission::Busy`]: with PostgreSQL at once, with
/// MariaDB after a second, with MySQL after the session's `innodb_lock_wait_timeout`. diesel keeps the number of the error
/// to itself, so with both of them it is told by its text: in a session that does not speak English (`lc_messages`) it is
/// an error. SQLite has one writer, and whoever waits for it longer than the `busy_timeout` gets that error.
pub struct DieselInbox<B: Backend> {
    statements: InboxStatements,
    consumer: ConsumerName,
    writer: DieselWriter<B>,
}

impl<B: Backend> DieselInbox<B> {
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
    /// As [`DieselInbox::new`].
    pub fn with_names(consumer: impl Into<Box<str>>, names: &TableNames) -> Result<Self, MessageError> {
        Ok(Self {
            statements: InboxStatements::new(B::DIALECT, names),
            consumer: ConsumerName::new(consumer)?,
            writer: DieselWriter::with_names(names),
        })
    }

    /// Writes the messages that its transactions take along through this writer: that of another outbox, or one that wakes
    /// the relay after each commit.
    #[must_use]
    pub fn writing_to(mut self, writer: DieselWriter<B>) -> Self {
        self.writer = writer;
        self
    }

    /// Whose inbox it is.
    #[must_use]
    pub const fn consumer(&self) -> &ConsumerName {
        &self.consumer
    }

    /// Records a message in the caller's transaction, and says whether it is fresh: through the connection that diesel hands
    /// to the closure of a transaction, or one of a pool.
    ///
    /// If it is not [`Admission::Fresh`], roll back and apply no effects.
    ///
    /// # Errors
    ///
    /// The database's. Roll the transaction back; after a conflict ([`is_conflict`](crate::is_conflict)) begin anew.
    pub fn admit<C>(&self, connection: &mut C, id: &MessageId) -> QueryResult<Admission>
    where
        C: Connection<Backend = B>,
    {
        done(self.statements.admit(&mut Executor(connection), &self.consumer, id))
    }

    /// Records many messages in the caller's transaction, and says of each whether it is fresh. A handful of
    /// statements if all of them are.
    ///
    /// # Errors
    ///
    /// As [`DieselInbox::admit`].
    pub fn admit_all<C>(&self, connection: &mut C, ids: &[MessageId]) -> QueryResult<Vec<Admission>>
    where
        C: Connection<Backend = B>,
    {
        done(self.statements.admit_all(&mut Executor(connection), &self.consumer, ids))
    }
}

// Or the compiler would only say that a pool is no connection, and not what to pass.
#[diagnostic::do_not_recommend]
impl<B, C> BlockingInboxStore<C> for DieselInbox<B>
where
    B: Backend,
    C: Connection<Backend = B>,
{
    type Error = Error;

    fn admit(&self, connection: &mut C, id: &MessageId) -> QueryResult<Admission> {
        self.admit(connection, id)
    }

    fn admit_all(&self, connection: &mut C, ids: &[MessageId]) -> QueryResult<Vec<Admission>> {
        self.admit_all(connection, ids)
    }
}

impl<B: Backend> Clone for DieselInbox<B> {
    fn clone(&self) -> Self {
        Self {
            statements: self.statements.clone(),
            consumer: self.consumer.clone(),
            writer: self.writer.clone(),
        }
    }
}

impl<B: Backend> fmt::Debug for DieselInbox<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DieselInbox").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}
