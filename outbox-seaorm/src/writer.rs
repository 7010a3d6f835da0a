use std::fmt;
use std::future::Future;
use std::sync::Arc;

use outbox_core::{CommitHint, CommitHints, Event, OutboxMessage, OutboxWriter};
use outbox_sql::{Dialect, InsertStatements, TableNames};
use sea_orm::{DbBackend, DbErr};

use crate::TransactionConnection;
use crate::origin;
use crate::query::query;

/// Writes messages to the outbox, through the caller's open transaction. One writer for every database whose feature is
/// on: the transaction knows which one it leads to.
#[derive(Clone)]
pub struct SeaOrmWriter {
    postgres: Option<InsertStatements>,
    mysql: Option<InsertStatements>,
    sqlite: Option<InsertStatements>,
    after_commit: Option<Arc<AfterCommit>>,
    hints: CommitHints,
}

/// What wakes the relay.
type AfterCommit = dyn Fn() + Send + Sync;

impl SeaOrmWriter {
    /// Writes to the table with the default name.
    #[must_use]
    pub fn new() -> Self {
        Self::with_names(&TableNames::default())
    }

    /// Writes to a table with another name.
    #[must_use]
    pub fn with_names(names: &TableNames) -> Self {
        let statements = |on: bool, dialect| on.then(|| InsertStatements::new(dialect, names));
        Self {
            postgres: statements(cfg!(feature = "postgres"), Dialect::Postgres),
            mysql: statements(cfg!(feature = "mysql"), Dialect::MySql),
            sqlite: statements(cfg!(feature = "sqlite"), Dialect::Sqlite),
            after_commit: None,
            hints: CommitHints::default(),
        }
    }

    /// Calls `hook` after each commit of an [`OutboxTransaction`](crate::OutboxTransaction) with messages: to wake the
    /// relay. It must not block. A transaction of sea-orm's own does not call it.
    #[must_use]
    pub fn after_commit(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.after_commit = Some(Arc::new(hook));
        self
    }

    /// Tells `hint` of messages that are committed, or may be soon: `relay.waker()`, or a notifier where the relay is
    /// another process. It hears of each call that writes messages in a transaction of sea-orm's own, whose commit nobody
    /// learns of, and of each commit of an [`OutboxTransaction`](crate::OutboxTransaction) with messages.
    /// See [`CommitHint`] for what a relay makes of it; a rollback costs it some empty looks.
    #[must_use]
    pub fn with_hint(mut self, hint: impl CommitHint + 'static) -> Self {
        self.hints = CommitHints::to(hint);
        self
    }

    /// Writes one event.
    ///
    /// # Errors
    ///
    /// [`DbErr::TryIntoErr`] with a [`MessageError`](outbox_core::MessageError) if it can't be encoded or is out of its
    /// limits; nothing was sent to the database then. Otherwise as [`SeaOrmWriter::enqueue`].
    ///
    /// # Cancel safety
    ///
    /// As [`SeaOrmWriter::enqueue`].
    pub fn emit<C, E>(&self, connection: &C, event: &E) -> impl Future<Output = Result<(), DbErr>>
    where
        C: TransactionConnection,
        E: Event + ?Sized,
    {
        // Outside of the future, so that the event need not be `Sync`.
        let message = OutboxMessage::event(event);
        async move {
            let message = message.map_err(|error| DbErr::TryIntoErr {
                from: "Event",
                into: "OutboxMessage",
                source: Arc::new(error),
            })?;
            self.enqueue(connection, &message).await
        }
    }

    /// Writes one message.
    ///
    /// # Errors
    ///
    /// The database's. The transaction is then to be rolled back, see [`OutboxWriter`].
    /// [`DbErr::BackendNotSupported`] if the feature of this database is off.
    ///
    /// # Cancel safety
    ///
    /// No: roll the transaction back. With MySQL and MariaDB the connection may be lost to its pool: what is left of a cut
    /// off answer can't be told from the next one, and the pool waits for that connection for ever.
    pub async fn enqueue(
        &self,
        connection: &impl TransactionConnection,
        message: &OutboxMessage,
    ) -> Result<(), DbErr> {
        self.enqueue_all(connection, std::slice::from_ref(message)).await
    }

    /// Writes the messages, in their order. An empty slice does nothing.
    ///
    /// # Errors
    ///
    /// The database's. The transaction is then to be rolled back, see [`OutboxWriter`].
    /// [`DbErr::BackendNotSupported`] if the feature of this database is off.
    ///
    /// # Cancel safety
    ///
    /// No: roll the transaction back. With MySQL and MariaDB the connection may be lost to its pool: what is left of a cut
    /// off answer can't be told from the next one, and the pool waits for that connection for ever.
    pub async fn enqueue_all(
        &self,
        connection: &impl TransactionConnection,
        messages: &[OutboxMessage],
    ) -> Result<(), DbErr> {
        connection.check_transaction()?;
        let backend = connection.get_database_backend();
        for statement in self.statements(backend)?.for_messages(messages) {
            connection.execute_raw(query(backend, statement)?).await?;
        }
        self.hints.expected(messages.len());
        Ok(())
    }

    pub(crate) fn statements(&self, backend: DbBackend) -> Result<&InsertStatements, DbErr> {
        let statements = match backend {
            DbBackend::Postgres => &self.postgres,
            DbBackend::MySql => &self.mysql,
            DbBackend::Sqlite => &self.sqlite,
            _ => &None,
        };
        statements.as_ref().ok_or_else(|| origin::feature_off(backend))
    }

    /// A transaction with messages is committed.
    pub(crate) fn committed(&self) {
        if let Some(hook) = &self.after_commit {
            hook();
        }
        self.hints.committed();
    }
}

/// For every transaction, so that a service can be generic over its writer.
impl<C: TransactionConnection> OutboxWriter<C> for SeaOrmWriter {
    type Error = DbErr;

    fn enqueue_all(
        &self,
        connection: &mut C,
        messages: &[OutboxMessage],
    ) -> impl Future<Output = Result<(), DbErr>> + Send {
        self.enqueue_all(&*connection, messages)
    }
}

impl Default for SeaOrmWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SeaOrmWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaOrmWriter")
            .field("postgres", &self.postgres)
            .field("mysql", &self.mysql)
            .field("sqlite", &self.sqlite)
            .finish_non_exhaustive()
    }
}
