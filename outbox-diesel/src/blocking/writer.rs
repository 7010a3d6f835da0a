use std::marker::PhantomData;

use diesel::{Connection, QueryResult};
use outbox_core::{BlockingOutboxWriter, OutboxMessage};
use outbox_sql::{InsertStatements, TableNames};

use crate::Backend;
use crate::statement::BoundStatement;

/// Writes messages to the outbox, through the connection that holds the caller's open transaction.
///
/// Use it by its names [`crate::PostgresWriter`], [`crate::MySqlWriter`] and [`crate::SqliteWriter`].
#[derive(Debug)]
pub struct DieselWriter<B: Backend> {
    statements: InsertStatements,
    database: PhantomData<fn() -> B>,
}

impl<B: Backend> DieselWriter<B> {
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
        for statement in self.statements.for_messages(messages) {
            connection.execute_returning_count(&BoundStatement::<B>::new(statement)?)?;
        }
        Ok(())
    }
}

impl<B, C> BlockingOutboxWriter<C> for DieselWriter<B>
where
    B: Backend,
    C: Connection<Backend = B>,
{
    type Error = diesel::result::Error;

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
        Self { statements: self.statements.clone(), database: PhantomData }
    }
}
