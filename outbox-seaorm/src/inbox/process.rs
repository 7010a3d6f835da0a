use outbox_core::{AsError, AsyncWork, MessageId, Processed, TransactionPolicy};
use sea_orm::DatabaseConnection;

use super::SeaOrmInbox;
use crate::{OutboxTransaction, TransactionError, is_conflict};

impl SeaOrmInbox {
    /// Handles a message once: runs a body in a transaction in which the message is recorded, and commits both. If the
    /// message was handled before, the body is not run.
    ///
    /// After a conflict (see [`is_conflict`]) it begins anew, as often as [`TransactionPolicy::new`] says. The body must
    /// not do anything that can't be undone by a rollback; an error that it returns rolls back, and the message is as
    /// fresh as before. Messages that it adds to the transaction go to the outbox with the effects.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     db: sea_orm::DatabaseConnection,
    /// #     message: outbox_core::OutboxMessage,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use outbox_seaorm::{SeaOrmInbox, TransactionError};
    /// use sea_orm::ConnectionTrait;
    ///
    /// let inbox = SeaOrmInbox::new("billing")?;
    /// let processed = inbox
    ///     .process(&db, &message, async |tx| {
    ///         tx.execute_unprepared("UPDATE accounts SET balance = balance - 5 WHERE id = 7").await?;
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
        db: &DatabaseConnection,
        id: impl AsRef<MessageId>,
        body: F,
    ) -> Result<Processed<T>, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction, Result<T, E>, Fut: Send>,
        E: From<TransactionError> + AsError,
    {
        self.process_with(db, TransactionPolicy::new(), id, body).await
    }

    /// [`SeaOrmInbox::process`] by another policy: how often it begins anew, and at which isolation level.
    ///
    /// # Errors
    ///
    /// As [`SeaOrmInbox::process`].
    ///
    /// # Cancel safety
    ///
    /// As [`SeaOrmInbox::process`].
    pub async fn process_with<T, E, F>(
        &self,
        db: &DatabaseConnection,
        policy: TransactionPolicy,
        id: impl AsRef<MessageId>,
        body: F,
    ) -> Result<Processed<T>, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction, Result<T, E>, Fut: Send>,
        E: From<TransactionError> + AsError,
    {
        let id = *id.as_ref();
        let mut pauses = policy.pauses_between_attempts();
        loop {
            let error = match self.attempt(db, &policy, &id, &body).await {
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
        db: &DatabaseConnection,
        policy: &TransactionPolicy,
        id: &MessageId,
        body: &F,
    ) -> Result<Processed<T>, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction, Result<T, E>, Fut: Send>,
        E: From<TransactionError>,
    {
        let begun = self.begin_with(db, policy, id).await;
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
