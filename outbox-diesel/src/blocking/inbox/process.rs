use diesel::Connection;
use diesel::result::Error;
use outbox_core::{AsError, MessageId, Processed, TransactionError, TransactionPolicy};

use super::DieselInbox;
use crate::{Backend, OutboxTransaction, is_conflict};

impl<B: Backend> DieselInbox<B> {
    /// Handles a message once: runs a body in a transaction in which the message is recorded, and commits both. If the
    /// message was handled before, the body is not run.
    ///
    /// After a conflict (see [`is_conflict`]) it begins anew, as often as [`TransactionPolicy::new`] says. The body must
    /// not do anything that can't be undone by a rollback; an error that it returns rolls back, and the message is as
    /// fresh as before. Messages that it adds to the transaction go to the outbox with the effects.
    ///
    /// The thread sleeps between the attempts: call this where diesel's queries may be called, on a thread that may block.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")]
    /// # fn example(
    /// #     connection: &mut diesel::PgConnection,
    /// #     message: outbox_core::OutboxMessage,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use diesel::RunQueryDsl;
    /// use outbox_diesel::{PostgresInbox, TransactionError};
    ///
    /// let inbox = PostgresInbox::new("billing")?;
    /// let processed = inbox.process(connection, &message, |tx| {
    ///     diesel::sql_query("UPDATE accounts SET balance = balance - 5 WHERE id = 7").execute(tx)?;
    ///     Ok::<_, TransactionError>(())
    /// })?;
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
    pub fn process<C, T, E, F>(
        &self,
        connection: &mut C,
        id: impl AsRef<MessageId>,
        body: F,
    ) -> Result<Processed<T>, E>
    where
        C: Connection<Backend = B>,
        F: FnMut(&mut OutboxTransaction<'_, C>) -> Result<T, E>,
        E: From<TransactionError<Error>> + AsError,
    {
        self.process_with(connection, TransactionPolicy::new(), id, body)
    }

    /// [`DieselInbox::process`] by another policy: how often it begins anew, and at which isolation level.
    ///
    /// # Errors
    ///
    /// As [`DieselInbox::process`].
    pub fn process_with<C, T, E, F>(
        &self,
        connection: &mut C,
        policy: TransactionPolicy,
        id: impl AsRef<MessageId>,
        mut body: F,
    ) -> Result<Processed<T>, E>
    where
        C: Connection<Backend = B>,
        F: FnMut(&mut OutboxTransaction<'_, C>) -> Result<T, E>,
        E: From<TransactionError<Error>> + AsError,
    {
        let id = id.as_ref();
        let once = |tx: &mut OutboxTransaction<'_, C>| {
            let admission = self.admit(tx, id).map_err(TransactionError::Database)?;
            match admission.processed() {
                None => body(tx).map_err(Ended::Failed),
                Some(processed) => Err(Ended::NotFresh(processed)),
            }
        };
        match self.writer.transaction_when(connection, policy, Ended::is_conflict, once) {
            Ok(value) => Ok(Processed::Applied(value)),
            Err(Ended::NotFresh(processed)) => Ok(processed),
            Err(Ended::Failed(error)) => Err(error),
        }
    }
}

/// Why a transaction is rolled back.
enum Ended<T, E> {
    NotFresh(Processed<T>),
    Failed(E),
}

impl<T, E: AsError> Ended<T, E> {
    fn is_conflict(&self) -> bool {
        match self {
            Self::NotFresh(_) => false,
            Self::Failed(error) => is_conflict(error.as_error()),
        }
    }
}

impl<T, E: From<TransactionError<Error>>> From<TransactionError<Error>> for Ended<T, E> {
    fn from(error: TransactionError<Error>) -> Self {
        Self::Failed(error.into())
    }
}
