use std::future::Future;
use std::marker::PhantomData;

use diesel::QueryResult;
use diesel_async::AsyncConnection;
use outbox_core::{OutboxMessage, OutboxWriter};
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
#[derive(Debug)]
pub struct AsyncDieselWriter<B: Backend> {
    statements: InsertStatements,
    database: PhantomData<fn() -> B>,
}

impl<B: Backend> AsyncDieselWriter<B> {
    /// Writes to the table with the default name.
    #[must_use]
    pub fn new() -> Self {
        Self::with_names(&TableNames::default())
    }

    /// Writes to a table with another name.
    #[must_use]
    pub fn with_names(names: &TableNames) -> Self {
        Self { statements: InsertStatements::new(B::DIALECT, names), database: PhantomData }
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
        for statement in self.statements.for_messages(messages) {
            statements::count(connection, statement).await?;
        }
        Ok(())
    }
}

impl<B: Backend, C> OutboxWriter<C> for AsyncDieselWriter<B>
where
    C: AsyncConnection<Backend = B>,
{
    type Error = diesel::result::Error;

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
        Self { statements: self.statements.clone(), database: PhantomData }
    }
}
