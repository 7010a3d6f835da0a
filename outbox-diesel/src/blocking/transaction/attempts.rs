use std::error::Error;

use diesel::{Connection, QueryResult};
use outbox_core::{TransactionError, TransactionPolicy};

use super::{OutboxTransaction, session};
use crate::error::is_conflict;
use crate::{Backend, DieselWriter};

impl<B: Backend> DieselWriter<B> {
    /// Begins a transaction, at the database's default isolation level.
    ///
    /// # Errors
    ///
    /// The database's; [`AlreadyInTransaction`](diesel::result::Error::AlreadyInTransaction) if the connection is in one,
    /// also in a test transaction. With SQLite, which has one writer at a time, also that it is busy.
    pub fn begin<'c, C>(&self, connection: &'c mut C) -> QueryResult<OutboxTransaction<'c, C>>
    where
        C: Connection<Backend = B>,
    {
        self.begin_with(connection, &TransactionPolicy::new())
    }

    /// Begins a transaction at the isolation level of a policy.
    ///
    /// # Errors
    ///
    /// As [`DieselWriter::begin`].
    pub fn begin_with<'c, C>(
        &self,
        connection: &'c mut C,
        policy: &TransactionPolicy,
    ) -> QueryResult<OutboxTransaction<'c, C>>
    where
        C: Connection<Backend = B>,
    {
        OutboxTransaction::begin(self.clone(), connection, policy.isolation_level())
    }

    /// Runs a body in a transaction and commits it; after a conflict (see [`is_conflict`]) runs it again in a fresh one,
    /// as often as the policy says. The messages of an attempt live and die with it: a failed one leaves none behind.
    ///
    /// The body must not do anything that can't be undone by a rollback. An error that it returns rolls back. It is
    /// called again, so it may borrow what it captures, but not consume it.
    ///
    /// The thread sleeps between the attempts: call this where diesel's queries may be called, on a thread that may block.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")]
    /// # fn example(
    /// #     connection: &mut diesel::PgConnection,
    /// #     outbox: outbox_diesel::PostgresWriter,
    /// #     message: outbox_core::OutboxMessage,
    /// # ) -> Result<(), outbox_diesel::TransactionError> {
    /// use diesel::RunQueryDsl;
    /// use outbox_core::TransactionPolicy;
    /// use outbox_diesel::TransactionError;
    ///
    /// outbox.transaction(connection, TransactionPolicy::new(), |tx| {
    ///     diesel::sql_query("UPDATE stock SET left = left - 1 WHERE item = 7").execute(tx)?;
    ///     tx.add(message.clone());
    ///     Ok::<_, TransactionError>(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the body returned, or a [`TransactionError`] as the body's error type. Nothing is committed then, but for
    /// [`TransactionError::Unknown`].
    pub fn transaction<C, T, E, F>(
        &self,
        connection: &mut C,
        policy: TransactionPolicy,
        body: F,
    ) -> Result<T, E>
    where
        C: Connection<Backend = B>,
        F: FnMut(&mut OutboxTransaction<'_, C>) -> Result<T, E>,
        E: From<TransactionError<diesel::result::Error>> + Error + 'static,
    {
        self.transaction_when(connection, policy, |error: &E| is_conflict(error), body)
    }

    /// [`DieselWriter::transaction`] for an error that is no [`Error`], as `anyhow::Error`, or where other errors than
    /// conflicts are worth another attempt: `retry` decides. On a connection that is broken there is none.
    ///
    /// # Errors
    ///
    /// As [`DieselWriter::transaction`].
    pub fn transaction_when<C, T, E, F>(
        &self,
        connection: &mut C,
        policy: TransactionPolicy,
        retry: impl Fn(&E) -> bool,
        mut body: F,
    ) -> Result<T, E>
    where
        C: Connection<Backend = B>,
        F: FnMut(&mut OutboxTransaction<'_, C>) -> Result<T, E>,
        E: From<TransactionError<diesel::result::Error>>,
    {
        let mut pauses = policy.pauses_between_attempts();
        loop {
            let error = match self.attempt(connection, &policy, &mut body) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // On a broken connection another attempt would only hide the error.
            let again = retry(&error) && session::depth(connection).is_ok();
            let Some(pause) = (if again { pauses.next() } else { None }) else {
                return Err(error);
            };
            drop(error);
            std::thread::sleep(pause);
        }
    }

    fn attempt<C, T, E, F>(
        &self,
        connection: &mut C,
        policy: &TransactionPolicy,
        body: &mut F,
    ) -> Result<T, E>
    where
        C: Connection<Backend = B>,
        F: FnMut(&mut OutboxTransaction<'_, C>) -> Result<T, E>,
        E: From<TransactionError<diesel::result::Error>>,
    {
        let begun = self.begin_with(connection, policy);
        let mut transaction = begun.map_err(TransactionError::Database)?;
        let value = body(&mut transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}
