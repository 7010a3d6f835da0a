use outbox_core::{AsError, AsyncWork, MessageId, Processed, TransactionError, TransactionPolicy};
use sqlx::Pool;

use super::SqlxInbox;
use crate::{Backend, OutboxTransaction, is_conflict};

impl<DB: Backend> SqlxInbox<DB> {
    /// Handles a message once: runs a body in a transaction in which the message is recorded, and commits both. If the
    /// message was handled before, the body is not run.
    ///
    /// After a conflict (see [`is_conflict`]) it begins anew, as often as [`TransactionPolicy::new`] says. The body must
    /// not do anything that can't be undone by a rollback; an error that it returns rolls back, and the message is as
    /// fresh as before. Messages that it adds to the transaction go to the outbox with the effects.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")]
    /// # async fn example(
    /// #     pool: sqlx::PgPool,
    /// #     message: outbox_core::OutboxMessage,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use outbox_sqlx::{PostgresInbox, TransactionError};
    ///
    /// let inbox = PostgresInbox::new("billing")?;
    /// let processed = inbox
    ///     .process(&pool, &message, async |tx| {
    ///         sqlx::query("UPDATE accounts SET balance = balance - 5 WHERE id = 7").execute(&mut **tx).await?;
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
    /// Yes: the transaction is rolled back. Where the future is dropped during the commit, nobody knows; let the message
    /// come again.
    pub async fn process<T, E, F>(
        &self,
        pool: &Pool<DB>,
        id: impl AsRef<MessageId>,
        body: F,
    ) -> Result<Processed<T>, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction<DB>) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction<DB>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<sqlx::Error>> + AsError,
    {
        self.process_with(pool, TransactionPolicy::new(), id, body).await
    }

    /// [`SqlxInbox::process`] by another policy: how often it begins anew, and at which isolation level.
    ///
    /// # Errors
    ///
    /// As [`SqlxInbox::process`].
    ///
    /// # Cancel safety
    ///
    /// As [`SqlxInbox::process`].
    pub async fn process_with<T, E, F>(
        &self,
        pool: &Pool<DB>,
        policy: TransactionPolicy,
        id: impl AsRef<MessageId>,
        body: F,
    ) -> Result<Processed<T>, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction<DB>) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction<DB>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<sqlx::Error>> + AsError,
    {
        let id = *id.as_ref();
        let mut pauses = policy.pauses_between_attempts();
        loop {
            let error = match self.attempt(pool, &policy, &id, &body).await {
                Ok(processed) => return Ok(processed),
                Err(error) => error,
            };
            let pause = if is_conflict(error.as_error()) { pauses.next() } else { None };
            let Some(pause) = pause else {
                return Err(error);
            };
            drop(error);
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt<T, E, F>(
        &self,
        pool: &Pool<DB>,
        policy: &TransactionPolicy,
        id: &MessageId,
        body: &F,
    ) -> Result<Processed<T>, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction<DB>) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction<DB>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<sqlx::Error>>,
    {
        let begun = self.begin_with(pool, policy, id).await;
        let mut guard = begun.map_err(|error| E::from(TransactionError::Database(error)))?;
        if let Some(processed) = guard.admission().processed() {
            guard.rollback().await;
            return Ok(processed);
        }
        match body(guard.tx()).await {
            Ok(value) => Ok(guard.commit().await?.map(|()| value)),
            Err(error) => {
                guard.rollback().await;
                Err(error)
            }
        }
    }
}
