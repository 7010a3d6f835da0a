use outbox_core::{Admission, MessageId, Processed, TransactionPolicy};
use sea_orm::{DatabaseConnection, DbErr};

use super::SeaOrmInbox;
use crate::{OutboxTransaction, TransactionError};

/// A transaction in which a message was admitted, for those who run their own loop.
///
/// ```no_run
/// # async fn example(
/// #     db: sea_orm::DatabaseConnection,
/// #     inbox: outbox_seaorm::SeaOrmInbox,
/// #     id: outbox_core::MessageId,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use sea_orm::ConnectionTrait;
///
/// let mut guard = inbox.begin(&db, id).await?;
/// if guard.fresh() {
///     guard.tx().execute_unprepared("UPDATE accounts SET balance = balance - 5 WHERE id = 7").await?;
/// }
/// if guard.commit().await?.is_done() {
///     // … acknowledge the message …
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is committed without `commit`"]
pub struct InboxGuard {
    transaction: OutboxTransaction,
    admission: Admission,
}

impl SeaOrmInbox {
    /// Begins a transaction and records a message in it.
    ///
    /// # Errors
    ///
    /// The database's. Nothing stays open; after a conflict ([`is_conflict`](crate::is_conflict)) begin anew.
    /// [`DbErr::BackendNotSupported`] if the feature of this database is off.
    ///
    /// # Cancel safety
    ///
    /// Yes: what has begun is rolled back.
    pub async fn begin(
        &self,
        db: &DatabaseConnection,
        id: impl AsRef<MessageId>,
    ) -> Result<InboxGuard, DbErr> {
        self.begin_with(db, &TransactionPolicy::new(), id).await
    }

    /// [`SeaOrmInbox::begin`] at the isolation level of a policy.
    ///
    /// # Errors
    ///
    /// As [`SeaOrmInbox::begin`].
    ///
    /// # Cancel safety
    ///
    /// Yes: what has begun is rolled back.
    pub async fn begin_with(
        &self,
        db: &DatabaseConnection,
        policy: &TransactionPolicy,
        id: impl AsRef<MessageId>,
    ) -> Result<InboxGuard, DbErr> {
        let id = *id.as_ref();
        let transaction = self.writer.begin_with(db, policy).await?;
        match self.admit(&transaction, &id).await {
            Ok(admission) => Ok(InboxGuard { transaction, admission }),
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }
}

impl InboxGuard {
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
    pub const fn tx(&mut self) -> &mut OutboxTransaction {
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
    pub async fn commit(self) -> Result<Processed, TransactionError> {
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
