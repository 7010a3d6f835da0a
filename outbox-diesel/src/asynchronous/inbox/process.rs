use diesel::result::Error;
use outbox_core::{Admission, AsError, AsyncWork, MessageId, Processed, TransactionError, TransactionPolicy};

use super::AsyncDieselInbox;
use crate::asynchronous::{AsyncOutboxTransaction, AsyncProducerConnection};
use crate::{Backend, is_conflict};

impl<B: Backend> AsyncDieselInbox<B> {
    /// Handles a message once: runs a body in a transaction in which the message is recorded, and commits both. If the
    /// message was handled before, the body is not run.
    ///
    /// After a conflict (see [`is_conflict`]) it begins anew, as often as [`TransactionPolicy::new`] says. The body must
    /// not do anything that can't be undone by a rollback; an error that it returns rolls back, and the message is as
    /// fresh as before. Messages that it adds to the transaction go to the outbox with the effects.
    ///
    /// ```no_run
    /// # #[cfg(feature = "async-postgres")]
    /// # async fn example(
    /// #     pool: diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncPgConnection>,
    /// #     message: outbox_core::OutboxMessage,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use diesel_async::RunQueryDsl;
    /// use outbox_diesel::{AsyncPostgresInbox, TransactionError};
    ///
    /// let inbox = AsyncPostgresInbox::new("billing")?;
    /// let mut connection = pool.get().await?;
    /// let processed = inbox
    ///     .process(&mut *connection, &message, async |tx| {
    ///         let bill = diesel::sql_query("UPDATE accounts SET balance = balance - 5 WHERE id = 7");
    ///         bill.execute(&mut **tx).await?;
    ///         Ok::<_, TransactionError>(())
    ///     })
    ///     .await?;
    /// if processed.is_done() {
    ///     // … acknowledge the message …
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the body returned, or a [`TransactionError`] as the body's error type. Nothing is committed then, but for
    /// [`TransactionError::Unknown`]: let the message come again, and the inbox tells.
    ///
    /// # Cancel safety
    ///
    /// Nothing is committed, but the connection is of no more use, as that of an [`AsyncOutboxTransaction`] that was
    /// dropped. Where the future is dropped during the commit, nobody knows; let the message come again.
    pub async fn process<C, T, E, F>(
        &self,
        connection: &mut C,
        id: impl AsRef<MessageId>,
        body: F,
    ) -> Result<Processed<T>, E>
    where
        C: AsyncProducerConnection<Database = B>,
        for<'t, 'c> F: AsyncFn(&'t mut AsyncOutboxTransaction<'c, C>) -> Result<T, E>
            + AsyncWork<&'t mut AsyncOutboxTransaction<'c, C>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<Error>> + AsError,
    {
        let id = *id.as_ref();
        self.process_with(connection, TransactionPolicy::new(), id, body).await
    }

    /// [`AsyncDieselInbox::process`] by another policy: how often it begins anew, and at which isolation level.
    ///
    /// # Errors
    ///
    /// As [`AsyncDieselInbox::process`].
    ///
    /// # Cancel safety
    ///
    /// As [`AsyncDieselInbox::process`].
    pub async fn process_with<C, T, E, F>(
        &self,
        connection: &mut C,
        policy: TransactionPolicy,
        id: impl AsRef<MessageId>,
        body: F,
    ) -> Result<Processed<T>, E>
    where
        C: AsyncProducerConnection<Database = B>,
        for<'t, 'c> F: AsyncFn(&'t mut AsyncOutboxTransaction<'c, C>) -> Result<T, E>
            + AsyncWork<&'t mut AsyncOutboxTransaction<'c, C>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<Error>> + AsError,
    {
        let id = *id.as_ref();
        let mut transaction = AsyncOutboxTransaction::new(self.writer.clone(), connection);
        let mut pauses = policy.pauses_between_attempts();
        loop {
            let error = match self.attempt(&mut transaction, &policy, &id, &body).await {
                Ok(processed) => return Ok(processed),
                Err(error) => error,
            };
            let again = is_conflict(error.as_error()) && transaction.can_start();
            let Some(pause) = (if again { pauses.next() } else { None }) else {
                return Err(error);
            };
            drop(error);
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt<C, T, E, F>(
        &self,
        transaction: &mut AsyncOutboxTransaction<'_, C>,
        policy: &TransactionPolicy,
        id: &MessageId,
        body: &F,
    ) -> Result<Processed<T>, E>
    where
        C: AsyncProducerConnection<Database = B>,
        for<'t, 'c> F: AsyncFn(&'t mut AsyncOutboxTransaction<'c, C>) -> Result<T, E>
            + AsyncWork<&'t mut AsyncOutboxTransaction<'c, C>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<Error>>,
    {
        transaction.start(policy).await.map_err(TransactionError::Database)?;
        // Whatever does not end in a commit is rolled back here: one that is dropped costs its connection.
        let value = match self.admit(&mut **transaction, id).await.map(Admission::processed) {
            Ok(None) => body(transaction).await,
            Ok(Some(processed)) => {
                transaction.turn_away(matches!(processed, Processed::Busy)).await;
                return Ok(processed);
            }
            Err(error) => Err(TransactionError::Database(error).into()),
        };
        match value {
            Ok(value) => {
                transaction.finish().await?;
                Ok(Processed::Applied(value))
            }
            Err(error) => {
                transaction.abandon().await;
                Err(error)
            }
        }
    }
}
