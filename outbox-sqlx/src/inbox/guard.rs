use outbox_core::{Admission, MessageId, Processed, TransactionError, TransactionPolicy};
use sqlx::Pool;

use super::SqlxInbox;
use crate::{Backend, OutboxTransaction};

/// A transaction in which a message was admitted, for those who run their own loop.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn example(
/// #     pool: sqlx::PgPool,
/// #     inbox: outbox_sqlx::PostgresInbox,
/// #     id: outbox_core::MessageId,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let mut guard = inbox.begin(&pool, id).await?;
/// if guard.fresh() {
///     sqlx::query("UPDATE accounts SET balance = balance - 5 WHERE id = 7").execute(&mut **guard.tx()).await?;
/// }
/// if guard.commit().await?.is_done() {
///     // … acknowledge the message …
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is committed without `commit`"]
pub struct InboxGuard<DB: Backend> {
    transaction: OutboxTransaction<DB>,
    admission: Admission,
}

impl<DB: Backend> SqlxInbox<DB> {
    /// Begins a transaction and records a message in it.
    ///
    /// # Errors
    ///
    /// The database's. Nothing stays open; after a conflict ([`is_conflict`](crate::is_conflict)) begin anew.
    ///
    /// # Cancel safety
    ///
    /// Yes: what has begun is rolled back.
    pub async fn begin(
        &self,
        pool: &Pool<DB>,
        id: impl AsRef<MessageId>,
    ) -> Result<InboxGuard<DB>, sqlx::Error> {
        self.begin_with(pool, &TransactionPolicy::new(), id).await
    }

    /// [`SqlxInbox::begin`] at the isolation level of a policy.
    ///
    /// # Errors
    ///
    /// As [`SqlxInbox::begin`].
    ///
    /// # Cancel safety
    ///
    /// Yes: what has begun is rolled back.
    pub async fn begin_with(
        &self,
        pool: &Pool<DB>,
        policy: &TransactionPolicy,
        id: impl AsRef<MessageId>,
    ) -> Result<InboxGuard<DB>, sqlx::Error> {
        let id = *id.as_ref();
        let mut transaction = self.writer.begin_with(pool, policy).await?;
        match self.admit(&mut transaction, &id).await {
            Ok(admission) => Ok(InboxGuard { transaction, admission }),
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }
}

impl<DB: Backend> InboxGuard<DB> {
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
    pub const fn tx(&mut self) -> &mut OutboxTransaction<DB> {
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
    /// No: nobody knows then whether it is committed. Let the message come again.
    pub async fn commit(self) -> Result<Processed, TransactionError<sqlx::Error>> {
        if let Some(processed) = self.admission.processed() {
            self.transaction.rollback().await;
            return Ok(processed);
        }
        self.transaction.commit().await?;
        Ok(Processed::Applied(()))
    }

    /// Rolls back: the message is as fresh as before.
    ///
    /// # Cancel safety
    ///
    /// Yes: it is rolled back in any case.
    pub async fn rollback(self) {
        self.transaction.rollback().await;
    }
}
