use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use diesel::QueryResult;
use diesel::result::Error;
use diesel_async::AsyncConnection;
use outbox_core::{CommitHint, CommitHints, Event, OutboxMessage, OutboxWriter};
use outbox_sql::{InsertStatements, TableNames};

use super::statements;
use crate::Backend;

/// Writes messages to the outbox, through the connection of diesel-async that has the caller's open transaction.
///
/// Use it by its names `AsyncPostgresWriter`, `AsyncMySqlWriter` and `AsyncSqliteWriter`.
///
/// ```no_run
/// # #[cfg(feature = "async-postgres")]
/// # async fn example(mut connection: diesel_async::AsyncPgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// use diesel_async::{AsyncConnection, RunQueryDsl};
/// use outbox_core::OutboxMessage;
/// use outbox_diesel::AsyncPostgresWriter;
///
/// let outbox = AsyncPostgresWriter::new();
/// let message = OutboxMessage::json("orders.placed", &serde_json::json!({ "order": 7 }))?.build()?;
///
/// connection
///     .transaction(async |connection| {
///         diesel::sql_query("INSERT INTO orders (id) VALUES (7)").execute(connection).await?;
///         outbox.enqueue(connection, &message).await
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
pub struct AsyncDieselWriter<B: Backend> {
    statements: InsertStatements,
    after_commit: Option<Arc<AfterCommit>>,
    hints: CommitHints,
    database: PhantomData<fn() -> B>,
}

/// What wakes the relay.
type AfterCommit = dyn Fn() + Send + Sync;

impl<B: Backend> AsyncDieselWriter<B> {
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

    /// Calls `hook` after each commit of an [`AsyncOutboxTransaction`](crate::AsyncOutboxTransaction) with messages: to wake
    /// the relay. It must not block. A transaction of diesel's own does not call it.
    #[must_use]
    pub fn after_commit(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.after_commit = Some(Arc::new(hook));
        self
    }

    /// Tells `hint` of messages that are committed, or may be soon: `relay.waker()`, or a notifier where the relay is
    /// another process. It hears of each call that writes messages in a transaction of diesel-async's own, whose commit nobody
    /// learns of, and of each commit of an [`AsyncOutboxTransaction`](crate::AsyncOutboxTransaction) with messages.
    /// See [`CommitHint`] for what a relay makes of it; a rollback costs it some empty looks.
    #[must_use]
    pub fn with_hint(mut self, hint: impl CommitHint + 'static) -> Self {
        self.hints = CommitHints::to(hint);
        self
    }

    /// Writes one event. Inside `connection.transaction(async |connection| …)` it is `connection`.
    ///
    /// # Errors
    ///
    /// [`Error::SerializationError`] with a [`MessageError`](outbox_core::MessageError) if it can't be encoded or is out of
    /// its limits; nothing was sent to the database then. Otherwise as [`AsyncDieselWriter::enqueue`].
    ///
    /// # Cancel safety
    ///
    /// As [`AsyncDieselWriter::enqueue`].
    pub fn emit<C, E>(&self, connection: &mut C, event: &E) -> impl Future<Output = QueryResult<()>> + Send
    where
        C: AsyncConnection<Backend = B>,
        E: Event + ?Sized,
    {
        // At once, so that the event need not be `Sync`.
        let message = OutboxMessage::event(event).map_err(|error| Error::SerializationError(error.into()));
        async move { self.enqueue(connection, &message?).await }
    }

    /// Writes one message. Inside `connection.transaction(async |connection| …)` it is `connection`.
    ///
    /// # Errors
    ///
    /// The database's. The transaction is then to be rolled back, see [`OutboxWriter`].
    ///
    /// # Cancel safety
    ///
    /// No: close the connection, since diesel-async leaves a transaction open whose future is dropped. A pool of
    /// diesel-async does so. With SQLite, diesel-async's own connection waits for the statement to end, and panics where
    /// the runtime of tokio has a single thread.
    pub async fn enqueue<C>(&self, connection: &mut C, message: &OutboxMessage) -> QueryResult<()>
    where
        C: AsyncConnection<Backend = B>,
    {
        self.enqueue_all(connection, std::slice::from_ref(message)).await
    }

    /// Writes the messages, in their order: in one `INSERT`, unless they are larger than a statement may be. An empty
    /// slice does nothing.
    ///
    /// # Errors
    ///
    /// The database's. The transaction is then to be rolled back, see [`OutboxWriter`].
    ///
    /// # Cancel safety
    ///
    /// No, as [`AsyncDieselWriter::enqueue`].
    pub async fn enqueue_all<C>(&self, connection: &mut C, messages: &[OutboxMessage]) -> QueryResult<()>
    where
        C: AsyncConnection<Backend = B>,
    {
        self.insert(connection, messages).await?;
        self.hints.expected(messages.len());
        Ok(())
    }

    /// Without a hint: for who knows when it commits.
    pub(super) async fn insert<C>(&self, connection: &mut C, messages: &[OutboxMessage]) -> QueryResult<()>
    where
        C: AsyncConnection<Backend = B>,
    {
        for statement in self.statements.for_messages(messages) {
            statements::count(connection, statement).await?;
        }
        Ok(())
    }
}

impl<B: Backend> AsyncDieselWriter<B> {
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
impl<B: Backend, C> OutboxWriter<C> for AsyncDieselWriter<B>
where
    C: AsyncConnection<Backend = B>,
{
    type Error = Error;

    fn enqueue_all(
        &self,
        connection: &mut C,
        messages: &[OutboxMessage],
    ) -> impl Future<Output = QueryResult<()>> + Send {
        self.enqueue_all(connection, messages)
    }
}

impl<B: Backend> Default for AsyncDieselWriter<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Backend> Clone for AsyncDieselWriter<B> {
    fn clone(&self) -> Self {
        Self {
            statements: self.statements.clone(),
            after_commit: self.after_commit.clone(),
            hints: self.hints.clone(),
            database: PhantomData,
        }
    }
}

impl<B: Backend> fmt::Debug for AsyncDieselWriter<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncDieselWriter").field("statements", &self.statements).finish_non_exhaustive()
    }
}
