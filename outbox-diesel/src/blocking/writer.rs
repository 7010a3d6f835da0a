use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use diesel::result::Error;
use diesel::{Connection, QueryResult};
use outbox_core::{BlockingOutboxWriter, CommitHint, CommitHints, Event, OutboxMessage};
use outbox_sql::{InsertStatements, TableNames};

use crate::Backend;
use crate::statement::BoundStatement;

/// Writes messages to the outbox, through the connection that holds the caller's open transaction.
///
/// Use it by its names [`crate::PostgresWriter`], [`crate::MySqlWriter`] and [`crate::SqliteWriter`].
pub struct DieselWriter<B: Backend> {
    statements: InsertStatements,
    after_commit: Option<Arc<AfterCommit>>,
    hints: CommitHints,
    database: PhantomData<fn() -> B>,
}

/// What wakes the relay.
type AfterCommit = dyn Fn() + Send + Sync;

impl<B: Backend> DieselWriter<B> {
    /// Writes to the table with the default name.
    #[must_use]
    pub fn new() -> Self {
        Self::with_names(&TableNames::default())
    }

    /// Writes to a table with another name.
    #[must_use]
    pub fn with_names(names: &TableNames) -> Self {
        Self {
            statements: InsertStatements::new(B::DIALECT, names),
            after_commit: None,
            hints: CommitHints::default(),
            database: PhantomData,
        }
    }

    /// Calls `hook` after each commit of an [`OutboxTransaction`](crate::OutboxTransaction) with messages: to wake the
    /// relay. It must not block. A transaction of diesel's own does not call it.
    #[must_use]
    pub fn after_commit(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.after_commit = Some(Arc::new(hook));
        self
    }

    /// Tells `hint` of messages that are committed, or may be soon: `relay.waker()`, or a notifier where the relay is
    /// another process. It hears of each call that writes messages in a transaction of diesel's own, whose commit nobody
    /// learns of, and of each commit of an [`OutboxTransaction`](crate::OutboxTransaction) with messages.
    /// See [`CommitHint`] for what a relay makes of it; a rollback costs it some empty looks.
    #[must_use]
    pub fn with_hint(mut self, hint: impl CommitHint + 'static) -> Self {
        self.hints = CommitHints::to(hint);
        self
    }

    /// Writes one event, through the connection that diesel hands to the closure of a transaction, or one of a pool.
    ///
    /// # Errors
    ///
    /// [`Error::SerializationError`] with a [`MessageError`](outbox_core::MessageError) if it can't be encoded or is out of
    /// its limits; nothing was sent to the database then. Otherwise as [`DieselWriter::enqueue`].
    pub fn emit<C, E>(&self, connection: &mut C, event: &E) -> QueryResult<()>
    where
        C: Connection<Backend = B>,
        E: Event + ?Sized,
    {
        let message = OutboxMessage::event(event).map_err(|error| Error::SerializationError(error.into()))?;
        self.enqueue(connection, &message)
    }

    /// Writes one message, through the connection that diesel hands to the closure of a transaction, or one of a pool.
    ///
    /// # Errors
    ///
    /// The database's. The transaction is then to be rolled back, see [`BlockingOutboxWriter`]: `?` in the closure does
    /// it.
    pub fn enqueue<C>(&self, connection: &mut C, message: &OutboxMessage) -> QueryResult<()>
    where
        C: Connection<Backend = B>,
    {
        self.enqueue_all(connection, std::slice::from_ref(message))
    }

    /// Writes the messages, in their order. An empty slice does nothing.
    ///
    /// # Errors
    ///
    /// The database's. The transaction is then to be rolled back, see [`BlockingOutboxWriter`]: `?` in the closure does
    /// it.
    pub fn enqueue_all<C>(&self, connection: &mut C, messages: &[OutboxMessage]) -> QueryResult<()>
    where
        C: Connection<Backend = B>,
    {
        self.insert(connection, messages)?;
        self.hints.expected(messages.len());
        Ok(())
    }

    /// Without a hint: for who knows when it commits.
    pub(super) fn insert<C>(&self, connection: &mut C, messages: &[OutboxMessage]) -> QueryResult<()>
    where
        C: Connection<Backend = B>,
    {
        for statement in self.statements.for_messages(messages) {
            connection.execute_returning_count(&BoundStatement::<B>::new(statement))?;
        }
        Ok(())
    }

    /// A transaction with messages is committed.
    pub(super) fn committed(&self) {
        if let Some(hook) = &self.after_commit {
            hook();
        }
        self.hints.committed();
    }
}

// Or the compiler would only say that a pool is no connection, and not what to pass.
#[diagnostic::do_not_recommend]
impl<B, C> BlockingOutboxWriter<C> for DieselWriter<B>
where
    B: Backend,
    C: Connection<Backend = B>,
{
    type Error = Error;

    fn enqueue_all(&self, connection: &mut C, messages: &[OutboxMessage]) -> QueryResult<()> {
        self.enqueue_all(connection, messages)
    }
}

impl<B: Backend> Default for DieselWriter<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Backend> Clone for DieselWriter<B> {
    fn clone(&self) -> Self {
        Self {
            statements: self.statements.clone(),
            after_commit: self.after_commit.clone(),
            hints: self.hints.clone(),
            database: PhantomData,
        }
    }
}

impl<B: Backend> fmt::Debug for DieselWriter<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DieselWriter").field("statements", &self.statements).finish_non_exhaustive()
    }
}
