use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use outbox_core::OutboxWriter;
use outbox_core::{CommitHint, CommitHints, Event, OutboxMessage};
use outbox_sql::{InsertStatements, TableNames};

use crate::Backend;
use crate::query::query;

/// Writes messages to the outbox, through the connection that holds the caller's open transaction.
///
/// Use it by its names [`crate::PostgresWriter`], [`crate::MySqlWriter`] and [`crate::SqliteWriter`].
pub struct SqlxWriter<DB: Backend> {
    statements: InsertStatements,
    after_commit: Option<Arc<AfterCommit>>,
    hints: CommitHints,
    database: PhantomData<fn() -> DB>,
}

/// What wakes the relay.
type AfterCommit = dyn Fn() + Send + Sync;

impl<DB: Backend> SqlxWriter<DB> {
    /// Writes to the table with the default name.
    #[must_use]
    pub fn new() -> Self {
        Self::with_names(&TableNames::default())
    }

    /// Writes to a table with another name.
    #[must_use]
    pub fn with_names(names: &TableNames) -> Self {
        Self {
            statements: InsertStatements::new(DB::DIALECT, names),
            after_commit: None,
            hints: CommitHints::default(),
            database: PhantomData,
        }
    }

    /// Calls `hook` after each commit of an [`OutboxTransaction`](crate::OutboxTransaction) with messages: to wake the
    /// relay. It must not block. A transaction of sqlx's own does not call it.
    #[must_use]
    pub fn after_commit(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.after_commit = Some(Arc::new(hook));
        self
    }

    /// Tells `hint` of messages that are committed, or may be soon: `relay.waker()`, or a notifier where the relay is
    /// another process. It hears of each call that writes messages in a transaction of sqlx's own, whose commit nobody
    /// learns of, and of each commit of an [`OutboxTransaction`](crate::OutboxTransaction) with messages.
    /// See [`CommitHint`] for what a relay makes of it; a rollback costs it some empty looks.
    #[must_use]
    pub fn with_hint(mut self, hint: impl CommitHint + 'static) -> Self {
        self.hints = CommitHints::to(hint);
        self
    }

    /// Writes one event. With sqlx the connection of a transaction is `&mut *tx`.
    ///
    /// # Errors
    ///
    /// [`sqlx::Error::Encode`] with a [`MessageError`](outbox_core::MessageError) if it can't be encoded or is out of its
    /// limits; nothing was sent to the database then. Otherwise as [`SqlxWriter::enqueue`].
    ///
    /// # Cancel safety
    ///
    /// As [`SqlxWriter::enqueue`].
    pub async fn emit<E: Event + ?Sized>(
        &self,
        connection: &mut DB::Connection,
        event: &E,
    ) -> Result<(), sqlx::Error> {
        // Before the first await, so that the event need not be `Sync`.
        let message = OutboxMessage::event(event).map_err(|error| sqlx::Error::Encode(error.into()))?;
        self.enqueue(connection, &message).await
    }

    /// Writes one message. With sqlx the connection of a transaction is `&mut *tx`.
    ///
    /// # Errors
    ///
    /// The database's. The transaction is then to be rolled back, see [`OutboxWriter`](outbox_core::OutboxWriter).
    ///
    /// # Cancel safety
    ///
    /// No: roll the transaction back. With MySQL and MariaDB close the connection, too: sqlx can't tell what is left of a
    /// cut off answer from the next one, and a pool waits for that connection for ever.
    pub async fn enqueue(
        &self,
        connection: &mut DB::Connection,
        message: &OutboxMessage,
    ) -> Result<(), sqlx::Error> {
        self.enqueue_all(connection, std::slice::from_ref(message)).await
    }

    /// Writes the messages, in their order. An empty slice does nothing.
    ///
    /// # Errors
    ///
    /// The database's. The transaction is then to be rolled back, see [`OutboxWriter`](outbox_core::OutboxWriter).
    ///
    /// # Cancel safety
    ///
    /// No: roll the transaction back. With MySQL and MariaDB close the connection, too: sqlx can't tell what is left of a
    /// cut off answer from the next one, and a pool waits for that connection for ever.
    pub async fn enqueue_all(
        &self,
        connection: &mut DB::Connection,
        messages: &[OutboxMessage],
    ) -> Result<(), sqlx::Error> {
        for statement in self.statements.for_messages(messages) {
            DB::execute(connection, query(statement)?).await?;
        }
        self.hints.expected(messages.len());
        Ok(())
    }
}

impl<DB: Backend> SqlxWriter<DB> {
    pub(crate) fn statements(&self) -> &InsertStatements {
        &self.statements
    }

    /// A transaction with messages is committed.
    pub(crate) fn committed(&self) {
        if let Some(hook) = &self.after_commit {
            hook();
        }
        self.hints.committed();
    }
}

/// Not once for all databases: a mistake would be explained by a type that is not what the compiler expected, instead of by
/// what to pass.
macro_rules! writes_through {
    ($feature:literal, $database:ty, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl OutboxWriter<$connection> for SqlxWriter<$database> {
            type Error = sqlx::Error;

            fn enqueue_all(
                &self,
                connection: &mut $connection,
                messages: &[OutboxMessage],
            ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
                self.enqueue_all(connection, messages)
            }
        }
    };
}

writes_through!("postgres", sqlx::Postgres, sqlx::PgConnection);
writes_through!("mysql", sqlx::MySql, sqlx::MySqlConnection);
writes_through!("sqlite", sqlx::Sqlite, sqlx::SqliteConnection);

impl<DB: Backend> Default for SqlxWriter<DB> {
    fn default() -> Self {
        Self::new()
    }
}

impl<DB: Backend> Clone for SqlxWriter<DB> {
    fn clone(&self) -> Self {
        Self {
            statements: self.statements.clone(),
            after_commit: self.after_commit.clone(),
            hints: self.hints.clone(),
            database: PhantomData,
        }
    }
}

impl<DB: Backend> fmt::Debug for SqlxWriter<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlxWriter").field("statements", &self.statements).finish_non_exhaustive()
    }
}
