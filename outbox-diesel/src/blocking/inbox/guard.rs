use std::fmt;

use diesel::result::Error;
use diesel::{Connection, QueryResult};
use outbox_core::{Admission, MessageId, Processed, TransactionError, TransactionPolicy};

use super::DieselInbox;
use crate::{Backend, OutboxTransaction};

/// A transaction in which a message was admitted, for those who run their own loop. When it is dropped, it rolls back, and
/// blocks for as long.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # fn example(
/// #     connection: &mut diesel::PgConnection,
/// #     inbox: outbox_diesel::PostgresInbox,
/// #     id: outbox_core::MessageId,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use diesel::RunQueryDsl;
///
/// let mut guard = inbox.begin(connection, id)?;
/// if guard.fresh() {
///     diesel::sql_query("UPDATE accounts SET balance = balance - 5 WHERE id = 7").execute(guard.tx())?;
/// }
/// if guard.commit()?.is_done() {
///     // … acknowledge the message …
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is committed without `commit`"]
pub struct InboxGuard<'c, C: Connection<Backend: Backend>> {
    transaction: OutboxTransaction<'c, C>,
    admission: Admission,
}

impl<B: Backend> DieselInbox<B> {
    /// Begins a transaction and records a message in it.
    ///
    /// # Errors
    ///
    /// The database's; [`AlreadyInTransaction`](Error::AlreadyInTransaction) if the connection is in one. Nothing stays
    /// open; after a conflict ([`is_conflict`](crate::is_conflict)) begin anew.
    pub fn begin<'c, C>(
        &self,
        connection: &'c mut C,
        id: impl AsRef<MessageId>,
    ) -> QueryResult<InboxGuard<'c, C>>
    where
        C: Connection<Backend = B>,
    {
        self.begin_with(connection, &TransactionPolicy::new(), id)
    }

    /// [`DieselInbox::begin`] at the isolation level of a policy.
    ///
    /// # Errors
    ///
    /// As [`DieselInbox::begin`].
    pub fn begin_with<'c, C>(
        &self,
        connection: &'c mut C,
        policy: &TransactionPolicy,
        id: impl AsRef<MessageId>,
    ) -> QueryResult<InboxGuard<'c, C>>
    where
        C: Connection<Backend = B>,
    {
        // After an error it is dropped, and that rolls back.
        let mut transaction = self.writer.begin_with(connection, policy)?;
        let admission = self.admit(&mut transaction, id.as_ref())?;
        Ok(InboxGuard { transaction, admission })
    }
}

impl<'c, C: Connection<Backend: Backend>> InboxGuard<'c, C> {
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
    pub const fn tx(&mut self) -> &mut OutboxTransaction<'c, C> {
        &mut self.transaction
    }

    /// Commits the effects of a fresh message, or else rolls back whatever was done, and says what is to become of the
    /// message: [`Processed::is_done`].
    ///
    /// # Errors
    ///
    /// [`TransactionError`]. Nothing is committed, but for [`TransactionError::Unknown`]: let the message come again, and
    /// the inbox tells.
    pub fn commit(self) -> Result<Processed, TransactionError<Error>> {
        if let Some(processed) = self.admission.processed() {
            self.transaction.rollback();
            return Ok(processed);
        }
        self.transaction.commit()?;
        Ok(Processed::Applied(()))
    }

    /// Rolls back: the message is as fresh as before.
    pub fn rollback(self) {
        self.transaction.rollback();
    }
}

impl<C: Connection<Backend: Backend>> fmt::Debug for InboxGuard<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxGuard")
            .field("transaction", &self.transaction)
            .field("admission", &self.admission)
            .finish()
    }
}
