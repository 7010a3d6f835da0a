use std::fmt;

use diesel::QueryResult;
use diesel::result::Error;
use outbox_core::{Admission, MessageId, Processed, TransactionError, TransactionPolicy};

use super::AsyncDieselInbox;
use crate::Backend;
use crate::asynchronous::{AsyncOutboxTransaction, AsyncProducerConnection};

/// A transaction in which a message was admitted, for those who run their own loop.
///
/// End it in any case, by [`AsyncInboxGuard::commit`] also where the message is not fresh. One that is dropped commits
/// nothing, but its connection is of no more use, as that of an [`AsyncOutboxTransaction`] that was dropped.
///
/// ```no_run
/// # #[cfg(feature = "async-postgres")]
/// # async fn example(
/// #     pool: diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncPgConnection>,
/// #     inbox: outbox_diesel::AsyncPostgresInbox,
/// #     id: outbox_core::MessageId,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use diesel_async::RunQueryDsl;
///
/// let mut connection = pool.get().await?;
/// let mut guard = inbox.begin(&mut *connection, id).await?;
/// if guard.fresh() {
///     let bill = diesel::sql_query("UPDATE accounts SET balance = balance - 5 WHERE id = 7");
///     bill.execute(&mut **guard.tx()).await?;
/// }
/// if guard.commit().await?.is_done() {
///     // … acknowledge the message …
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is committed without `commit`"]
pub struct AsyncInboxGuard<'c, C: AsyncProducerConnection> {
    transaction: AsyncOutboxTransaction<'c, C>,
    admission: Admission,
}

impl<B: Backend> AsyncDieselInbox<B> {
    /// Begins a transaction and records a message in it.
    ///
    /// # Errors
    ///
    /// The database's; [`Error::AlreadyInTransaction`] if one is open on the connection,
    /// [`Error::BrokenTransactionManager`] if one was dropped on it. Nothing stays open; after a conflict
    /// ([`is_conflict`](crate::is_conflict)) begin anew.
    ///
    /// # Cancel safety
    ///
    /// No: the connection is of no more use, as that of an [`AsyncOutboxTransaction`] that was dropped. Nothing is
    /// committed.
    pub async fn begin<'c, C>(
        &self,
        connection: &'c mut C,
        id: impl AsRef<MessageId>,
    ) -> QueryResult<AsyncInboxGuard<'c, C>>
    where
        C: AsyncProducerConnection<Database = B>,
    {
        let id = *id.as_ref();
        self.begin_with(connection, &TransactionPolicy::new(), id).await
    }

    /// [`AsyncDieselInbox::begin`] at the isolation level of a policy.
    ///
    /// # Errors
    ///
    /// As [`AsyncDieselInbox::begin`].
    ///
    /// # Cancel safety
    ///
    /// As [`AsyncDieselInbox::begin`].
    pub async fn begin_with<'c, C>(
        &self,
        connection: &'c mut C,
        policy: &TransactionPolicy,
        id: impl AsRef<MessageId>,
    ) -> QueryResult<AsyncInboxGuard<'c, C>>
    where
        C: AsyncProducerConnection<Database = B>,
    {
        let id = *id.as_ref();
        let mut transaction = self.writer.begin_with(connection, policy).await?;
        match self.admit(&mut *transaction, &id).await {
            Ok(admission) => Ok(AsyncInboxGuard { transaction, admission }),
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }
}

impl<'c, C: AsyncProducerConnection> AsyncInboxGuard<'c, C> {
    /// Whether effects are to be applied.
    #[must_use]
    pub fn fresh(&self) -> bool {
        self.admission == Admission::Fresh
    }

    /// What the inbox said.
    pub const fn admission(&self) -> Admission {
        self.admission
    }

    /// The transaction. Messages that are added to it are committed with the effects.
    pub const fn tx(&mut self) -> &mut AsyncOutboxTransaction<'c, C> {
        &mut self.transaction
    }

    /// Commits the effects of a fresh message, or else rolls back whatever was done, and says what is to become of the
    /// message: [`Processed::is_done`].
    ///
    /// # Errors
    ///
    /// [`TransactionError`]. Nothing is committed, but for [`TransactionError::Unknown`]: let the message come again, and
    /// the inbox tells.
    ///
    /// # Cancel safety
    ///
    /// No: nobody knows then whether it is committed, and the connection is of no more use. Let the message come again.
    pub async fn commit(mut self) -> Result<Processed, TransactionError<Error>> {
        if let Some(processed) = self.admission.processed() {
            self.transaction.turn_away(processed == Processed::Busy).await;
            return Ok(processed);
        }
        self.transaction.commit().await?;
        Ok(Processed::Applied(()))
    }

    /// Rolls back: the message is as fresh as before.
    ///
    /// # Cancel safety
    ///
    /// No: the connection is of no more use. Nothing is committed.
    pub async fn rollback(self) {
        self.transaction.rollback().await;
    }
}

impl<C: AsyncProducerConnection> fmt::Debug for AsyncInboxGuard<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncInboxGuard")
            .field("transaction", &self.transaction)
            .field("admission", &self.admission)
            .finish()
    }
}
