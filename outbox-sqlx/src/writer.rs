use std::future::Future;
use std::marker::PhantomData;

use outbox_core::{OutboxMessage, OutboxWriter};
use outbox_sql::{InsertStatements, TableNames};

use crate::Backend;
use crate::query::query;

/// Writes messages to the outbox, through the connection that holds the caller's open transaction.
///
/// Use it by its names [`crate::PostgresWriter`], [`crate::MySqlWriter`] and [`crate::SqliteWriter`].
#[derive(Debug)]
pub struct SqlxWriter<DB: Backend> {
    statements: InsertStatements,
    database: PhantomData<fn() -> DB>,
}

impl<DB: Backend> SqlxWriter<DB> {
    /// Writes to the table with the default name.
    #[must_use]
    pub fn new() -> Self {
        Self::with_names(&TableNames::default())
    }

    /// Writes to a table with another name.
    #[must_use]
    pub fn with_names(names: &TableNames) -> Self {
        Self { statements: InsertStatements::new(DB::DIALECT, names), database: PhantomData }
    }

    /// Writes one message. With sqlx the connection of a transaction is `&mut *tx`.
    ///
    /// # Errors
    ///
    /// The database's. The transaction is then to be rolled back, see [`OutboxWriter`].
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
    /// The database's. The transaction is then to be rolled back, see [`OutboxWriter`].
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
        Ok(())
    }
}

impl<DB: Backend> OutboxWriter<DB::Connection> for SqlxWriter<DB> {
    type Error = sqlx::Error;

    fn enqueue_all(
        &self,
        connection: &mut DB::Connection,
        messages: &[OutboxMessage],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        self.enqueue_all(connection, messages)
    }
}

impl<DB: Backend> Default for SqlxWriter<DB> {
    fn default() -> Self {
        Self::new()
    }
}

impl<DB: Backend> Clone for SqlxWriter<DB> {
    fn clone(&self) -> Self {
        Self { statements: self.statements.clone(), database: PhantomData }
    }
}
