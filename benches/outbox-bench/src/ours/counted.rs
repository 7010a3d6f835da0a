use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Claim, ClaimRequest, Fence, KeyHold, LateCommitMark, Lease, LeaseRequest, LeasedShard, OperatorRequest,
    OrderingKey, OutboxStore, Outcome, RelayId, RowId, Scope, Seq, Settled, StoreCapabilities, StoreError,
};
use tokio::sync::watch;

/// A store that tells how many rows were settled. Asking the table instead would be slow where deleted rows still lie
/// at its start, and would disturb what is measured.
pub(super) struct Counted {
    store: Arc<dyn OutboxStore>,
    settled: watch::Sender<u64>,
}

impl Counted {
    /// Adds what is settled to this sum.
    pub(super) fn new(store: Arc<dyn OutboxStore>, settled: watch::Sender<u64>) -> Self {
        Self { store, settled }
    }
}

#[async_trait]
impl OutboxStore for Counted {
    fn capabilities(&self) -> StoreCapabilities {
        self.store.capabilities()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn renew(&self, request: &LeaseRequest) -> Result<Lease, StoreError> {
        self.store.renew(request).await
    }

    async fn acquire(&self, request: &LeaseRequest, most: usize) -> Result<Vec<LeasedShard>, StoreError> {
        self.store.acquire(request, most).await
    }

    async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        self.store.release(fence).await
    }

    async fn retire(&self, relay: RelayId) -> Result<(), StoreError> {
        self.store.retire(relay).await
    }

    async fn absolve(&self, fence: &Fence) -> Result<(), StoreError> {
        self.store.absolve(fence).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, StoreError> {
        self.store.claim(request).await
    }

    async fn scan(&self, scope: &Scope, after: Seq, upto: Seq, limit: usize) -> Result<Vec<Seq>, StoreError> {
        self.store.scan(scope, after, upto, limit).await
    }

    async fn holds(
        &self,
        scope: &Scope,
        keys: Option<&[OrderingKey]>,
        limit: usize,
    ) -> Result<Vec<KeyHold>, StoreError> {
        self.store.holds(scope, keys, limit).await
    }

    async fn next_due(&self, scope: &Scope) -> Result<Option<Duration>, StoreError> {
        self.store.next_due(scope).await
    }

    async fn requests(&self, scope: &Scope, limit: usize) -> Result<Vec<OperatorRequest>, StoreError> {
        self.store.requests(scope, limit).await
    }

    async fn settle(&self, fence: &Fence, outcomes: &[(RowId, Outcome)]) -> Result<Settled, StoreError> {
        let settled = self.store.settle(fence, outcomes).await?;
        // Rows of a hot key that do not fit into memory are settled twice: they move to the deferred table first.
        let gone = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Delivered).count();
        if !settled.stale {
            self.settled.send_modify(|sum| *sum += u64::try_from(gone).unwrap_or(u64::MAX));
        }
        Ok(settled)
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        self.store.is_empty().await
    }

    async fn mark_late_commits(&self) -> Result<LateCommitMark, StoreError> {
        self.store.mark_late_commits().await
    }

    async fn late_commits_over(&self, mark: &LateCommitMark) -> Result<bool, StoreError> {
        self.store.late_commits_over(mark).await
    }
}
