use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Claim, ClaimRequest, Fence, KeyHold, LateCommitMark, Lease, LeaseRequest, LeasedShard, OperatorRequest,
    OrderingKey, OutboxStore, Outcome, RelayId, RowId, Scope, Seq, Settled, StoreCapabilities, StoreError,
};

use super::MemoryStore;
use super::tables::Tables;

#[async_trait]
impl OutboxStore for MemoryStore {
    fn capabilities(&self) -> StoreCapabilities {
        StoreCapabilities::new("memory")
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.operation("check", |_, _| Ok(())).await
    }

    async fn renew(&self, request: &LeaseRequest) -> Result<Lease, StoreError> {
        self.operation("renew", |tables, now| Ok(tables.renew(request, now))).await
    }

    async fn acquire(&self, request: &LeaseRequest, most: usize) -> Result<Vec<LeasedShard>, StoreError> {
        self.operation("acquire", |tables, now| Ok(tables.acquire(request, most, now))).await
    }

    async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        let release = |tables: &mut Tables, _| {
            tables.release(fence);
            Ok(())
        };
        self.operation("release", release).await
    }

    async fn retire(&self, relay: RelayId) -> Result<(), StoreError> {
        let retire = |tables: &mut Tables, _| {
            tables.retire(relay);
            Ok(())
        };
        self.operation("retire", retire).await
    }

    async fn absolve(&self, fence: &Fence) -> Result<(), StoreError> {
        let absolve = |tables: &mut Tables, _| {
            tables.absolve(fence);
            Ok(())
        };
        self.operation("absolve", absolve).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, StoreError> {
        self.operation("claim", |tables, now| tables.claim(request, now)).await
    }

    async fn scan(&self, scope: &Scope, after: Seq, upto: Seq, limit: usize) -> Result<Vec<Seq>, StoreError> {
        self.operation("scan", |tables, _| Ok(tables.scan(scope, after, upto, limit))).await
    }

    async fn holds(
        &self,
        scope: &Scope,
        keys: Option<&[OrderingKey]>,
        limit: usize,
    ) -> Result<Vec<KeyHold>, StoreError> {
        self.operation("holds", |tables, _| Ok(tables.holds(scope, keys, limit))).await
    }

    async fn next_due(&self, scope: &Scope) -> Result<Option<Duration>, StoreError> {
        self.operation("next_due", |tables, now| Ok(tables.next_due(scope, now))).await
    }

    async fn requests(&self, scope: &Scope, limit: usize) -> Result<Vec<OperatorRequest>, StoreError> {
        self.operation("requests", |tables, _| Ok(tables.requests(scope, limit))).await
    }

    async fn settle(&self, fence: &Fence, outcomes: &[(RowId, Outcome)]) -> Result<Settled, StoreError> {
        self.operation("settle", |tables, now| Ok(tables.settle(fence, outcomes, now))).await
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        self.operation("is_empty", |tables, _| Ok(tables.fresh.is_empty() && tables.deferred.is_empty()))
            .await
    }

    async fn mark_late_commits(&self) -> Result<LateCommitMark, StoreError> {
        let mark = |tables: &mut Tables, _| {
            Ok(LateCommitMark {
                seq: tables.last_seq,
                holders: tables.open.iter().map(u64::to_string).collect(),
            })
        };
        self.operation("mark_late_commits", mark).await
    }

    async fn late_commits_over(&self, mark: &LateCommitMark) -> Result<bool, StoreError> {
        let over = |tables: &mut Tables, _| {
            let running = |holder: &String| holder.parse().is_ok_and(|id| tables.open.contains(&id));
            Ok(!mark.holders.iter().any(running))
        };
        self.operation("late_commits_over", over).await
    }
}
