use async_trait::async_trait;
use outbox_core::{Admission, InboxAdmin, MessageId, Processed, TransactionPolicy};

use crate::transaction_suite::{Body, FixtureError, FixtureScope, TransactionFixture};

/// What the inbox suite needs to know about an ORM, beside its transactions.
#[async_trait]
pub trait InboxFixture: TransactionFixture {
    /// Begins a transaction and admits a message: the adapter's `begin_with`.
    async fn begin_admitted(
        &self,
        consumer: &str,
        policy: &TransactionPolicy,
        id: &MessageId,
    ) -> Result<Box<dyn OpenAdmission>, FixtureError>;

    /// Handles a message once: the adapter's `process_with`.
    async fn process(
        &self,
        consumer: &str,
        policy: TransactionPolicy,
        id: &MessageId,
        body: Body,
    ) -> Result<Processed, FixtureError>;

    /// Begins a transaction with messages and admits messages in it: the adapter's `admit_all`, in a transaction of the
    /// caller's. Commits if all is well and `commit` says so, or else rolls back.
    async fn admit_all(
        &self,
        consumer: &str,
        ids: &[MessageId],
        commit: bool,
    ) -> Result<Vec<Admission>, FixtureError>;

    /// The store's side of the inbox.
    fn inbox_admin(&self) -> &dyn InboxAdmin;
}

/// An open transaction in which a message was admitted.
#[async_trait]
pub trait OpenAdmission: FixtureScope {
    /// What the inbox said.
    fn admission(&self) -> Admission;

    /// Ends it: commits the effects of a fresh message.
    async fn commit(self: Box<Self>) -> Result<Processed, FixtureError>;

    /// Rolls back.
    async fn rollback(self: Box<Self>);
}
