mod executor;
mod guard;
mod process;

use std::fmt;
use std::future::Future;

use diesel::QueryResult;
use diesel::result::Error;
use diesel_async::AsyncConnection;
use outbox_core::{Admission, ConsumerName, InboxStore, MessageError, MessageId};
use outbox_sql::{InboxStatements, TableNames};

pub use guard::AsyncInboxGuard;

use super::AsyncDieselWriter;
use crate::Backend;
use executor::Executor;

/// The inbox of one consumer: remembers which messages it has handled, in the transaction of their effects.
///
/// Use it by its names `AsyncPostgresInbox`, `AsyncMySqlInbox` and `AsyncSqliteInbox`. There are three ways, from the most
/// that is done for you to the least: [`AsyncDieselInbox::process`] runs a body in a transaction of its own,
/// [`AsyncDieselInbox::begin`] gives you that transaction, and [`AsyncDieselInbox::admit`] works in yours.
///
/// With MySQL or MariaDB let the pool test no connection when it is lent (bb8: `test_on_check_out(false)`). Where a future is
/// dropped in the middle of that test, diesel-async's connection gives each answer one statement late from then on, and
/// nobody notices. The inbox does, as a message that is busy or as an error, and gives that connection up; your own queries
/// on it may not.
///
/// Whoever comes while another transaction is at the same message gets [`Admission::Busy`]: with PostgreSQL at once, with
/// MariaDB after a second, with MySQL after the session's `innodb_lock_wait_timeout`. diesel keeps the number of the error
/// to itself, so with both of them it is told by its text: in a session that does not speak English (`lc_messages`) it is
/// an error. SQLite has one writer, and whoever waits for it longer than the `busy_timeout` gets that error.
pub struct AsyncDieselInbox<B: Backend> {
    statements: InboxStatements,
    consumer: ConsumerName,
    writer: AsyncDieselWriter<B>,
}

impl<B: Backend> AsyncDieselInbox<B> {
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
    /// As [`AsyncDieselInbox::new`].
    pub fn with_names(consumer: impl Into<Box<str>>, names: &TableNames) -> Result<Self, MessageError> {
        Ok(Self {
            statements: InboxStatements::new(B::DIALECT, names),
            consumer: ConsumerName::new(consumer)?,
            writer: AsyncDieselWriter::with_names(names),
        })
    }

    /// Writes the messages that its transactions take along through this writer: that of another outbox, or one that wakes
    /// the relay after each commit.
    #[must_use]
    pub fn writing_to(mut self, writer: AsyncDieselWriter<B>) -> Self {
        self.writer = writer;
        self
    }

    /// Whose inbox it is.
    #[must_use]
    pub const fn consumer(&self) -> &ConsumerName {
        &self.consumer
    }

    /// Records a message in the caller's transaction, and says whether it is fresh. Inside
    /// `connection.transaction(async |connection| …)` pass `connection`.
    ///
    /// If it is not [`Admission::Fresh`], roll back and apply no effects.
    ///
    /// # Errors
    ///
    /// The database's. Roll the transaction back; after a conflict ([`is_conflict`](crate::is_conflict)) begin anew.
    ///
    /// # Cancel safety
    ///
    /// No: close the connection, see [`AsyncDieselWriter::enqueue`].
    pub async fn admit<C>(&self, connection: &mut C, id: &MessageId) -> QueryResult<Admission>
    where
        C: AsyncConnection<Backend = B>,
    {
        self.statements.admit(&mut Executor(connection), &self.consumer, id).await
    }

    /// Records many messages in the caller's transaction, and says of each whether it is fresh. A handful of statements if
    /// all of them are.
    ///
    /// # Errors
    ///
    /// As [`AsyncDieselInbox::admit`].
    ///
    /// # Cancel safety
    ///
    /// As [`AsyncDieselInbox::admit`].
    pub async fn admit_all<C>(&self, connection: &mut C, ids: &[MessageId]) -> QueryResult<Vec<Admission>>
    where
        C: AsyncConnection<Backend = B>,
    {
        self.statements.admit_all(&mut Executor(connection), &self.consumer, ids).await
    }
}

// Or the compiler would only say that a pool is no connection, and not what to pass.
#[diagnostic::do_not_recommend]
impl<B: Backend, C> InboxStore<C> for AsyncDieselInbox<B>
where
    C: AsyncConnection<Backend = B>,
{
    type Error = Error;

    fn admit(
        &self,
        connection: &mut C,
        id: &MessageId,
    ) -> impl Future<Output = QueryResult<Admission>> + Send {
        self.admit(connection, id)
    }

    fn admit_all(
        &self,
        connection: &mut C,
        ids: &[MessageId],
    ) -> impl Future<Output = QueryResult<Vec<Admission>>> + Send {
        self.admit_all(connection, ids)
    }
}

impl<B: Backend> Clone for AsyncDieselInbox<B> {
    fn clone(&self) -> Self {
        Self {
            statements: self.statements.clone(),
            consumer: self.consumer.clone(),
            writer: self.writer.clone(),
        }
    }
}

impl<B: Backend> fmt::Debug for AsyncDieselInbox<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncDieselInbox").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}
