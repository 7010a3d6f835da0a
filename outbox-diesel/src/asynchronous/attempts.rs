use std::error::Error as StdError;

use diesel::QueryResult;
use diesel::result::Error;
use outbox_core::{AsyncWork, TransactionError, TransactionPolicy};

use super::{AsyncDieselWriter, AsyncOutboxTransaction, AsyncProducerConnection};
use crate::Backend;
use crate::error::is_conflict;

impl<B: Backend> AsyncDieselWriter<B> {
    /// Begins a transaction, at the database's default isolation level.
    ///
    /// # Errors
    ///
    /// The database's. With SQLite, which has one writer at a time, also that it is busy. [`Error::AlreadyInTransaction`]
    /// if one is open on the connection, [`Error::BrokenTransactionManager`] if one was dropped on it.
    ///
    /// # Cancel safety
    ///
    /// No: the connection is of no more use, as that of an [`AsyncOutboxTransaction`] that was dropped.
    pub async fn begin<'c, C>(&self, connection: &'c mut C) -> QueryResult<AsyncOutboxTransaction<'c, C>>
    where
        C: AsyncProducerConnection<Database = B>,
    {
        self.begin_with(connection, &TransactionPolicy::new()).await
    }

    /// Begins a transaction at the isolation level of a policy.
    ///
    /// # Errors
    ///
    /// As [`AsyncDieselWriter::begin`].
    ///
    /// # Cancel safety
    ///
    /// As [`AsyncDieselWriter::begin`].
    pub async fn begin_with<'c, C>(
        &self,
        connection: &'c mut C,
        policy: &TransactionPolicy,
    ) -> QueryResult<AsyncOutboxTransaction<'c, C>>
    where
        C: AsyncProducerConnection<Database = B>,
    {
        let mut transaction = AsyncOutboxTransaction::new(self.clone(), connection);
        transaction.start(policy).await?;
        Ok(transaction)
    }

    /// Runs a body in a transaction and commits it; after a conflict (see [`is_conflict`]) runs it again in a fresh one,
    /// as often as the policy says. The messages of an attempt live and die with it: a failed one leaves none behind.
    ///
    /// The body must not do anything that can't be undone by a rollback. An error that it returns rolls back. It is
    /// called again, so it may borrow what it captures, but not consume it.
    ///
    /// ```no_run
    /// # #[cfg(feature = "async-postgres")]
    /// # async fn example(
    /// #     pool: diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncPgConnection>,
    /// #     outbox: outbox_diesel::AsyncPostgresWriter,
    /// #     message: outbox_core::OutboxMessage,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use diesel_async::RunQueryDsl;
    /// use outbox_core::TransactionPolicy;
    /// use outbox_diesel::TransactionError;
    ///
    /// let mut connection = pool.get().await?;
    /// outbox
    ///     .transaction(&mut *connection, TransactionPolicy::new(), async |tx| {
    ///         diesel::sql_query("UPDATE stock SET left = left - 1 WHERE item = 7").execute(&mut **tx).await?;
    ///         tx.add(message.clone());
    ///         Ok::<_, TransactionError>(())
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the body returned, or a [`TransactionError`] as the body's error type. Nothing is committed then, but for
    /// [`TransactionError::Unknown`]. The errors of [`AsyncDieselWriter::begin`] are [`TransactionError::Database`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is committed, but the connection is of no more use, as that of an [`AsyncOutboxTransaction`] that was
    /// dropped. Where the future is dropped during the commit, nobody knows what is committed.
    pub async fn transaction<C, T, E, F>(
        &self,
        connection: &mut C,
        policy: TransactionPolicy,
        body: F,
    ) -> Result<T, E>
    where
        C: AsyncProducerConnection<Database = B>,
        for<'t, 'c> F: AsyncFn(&'t mut AsyncOutboxTransaction<'c, C>) -> Result<T, E>
            + AsyncWork<&'t mut AsyncOutboxTransaction<'c, C>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<Error>> + StdError + 'static,
    {
        self.transaction_when(connection, policy, |error: &E| is_conflict(error), body).await
    }

    /// [`AsyncDieselWriter::transaction`] for an error that is no [`std::error::Error`], as `anyhow::Error`, or where other
    /// errors than conflicts are worth another attempt: `retry` decides.
    ///
    /// # Errors
    ///
    /// As [`AsyncDieselWriter::transaction`].
    ///
    /// # Cancel safety
    ///
    /// As [`AsyncDieselWriter::transaction`].
    pub async fn transaction_when<C, T, E, F>(
        &self,
        connection: &mut C,
        policy: TransactionPolicy,
        retry: impl Fn(&E) -> bool,
        body: F,
    ) -> Result<T, E>
    where
        C: AsyncProducerConnection<Database = B>,
        for<'t, 'c> F: AsyncFn(&'t mut AsyncOutboxTransaction<'c, C>) -> Result<T, E>
            + AsyncWork<&'t mut AsyncOutboxTransaction<'c, C>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<Error>>,
    {
        let mut transaction = AsyncOutboxTransaction::new(self.clone(), connection);
        let mut pauses = policy.pauses_between_attempts();
        loop {
            let error = match attempt(&mut transaction, &policy, &body).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let pause = if retry(&error) && transaction.can_start() { pauses.next() } else { None };
            let Some(pause) = pause else {
                return Err(error);
            };
            drop(error);
            tokio::time::sleep(pause).await;
        }
    }
}

async fn attempt<C, T, E, F>(
    transaction: &mut AsyncOutboxTransaction<'_, C>,
    policy: &TransactionPolicy,
    body: &F,
) -> Result<T, E>
where
    C: AsyncProducerConnection,
    for<'t, 'c> F: AsyncFn(&'t mut AsyncOutboxTransaction<'c, C>) -> Result<T, E>
        + AsyncWork<&'t mut AsyncOutboxTransaction<'c, C>, Result<T, E>, Fut: Send>,
    E: From<TransactionError<Error>>,
{
    transaction.start(policy).await.map_err(TransactionError::Database)?;
    match body(transaction).await {
        Ok(value) => {
            transaction.finish().await?;
            Ok(value)
        }
        Err(error) => {
            transaction.abandon().await;
            Err(error)
        }
    }
}
