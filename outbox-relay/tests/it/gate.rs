use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Claim, ClaimRequest, Fence, KeyHold, LateCommitMark, Lease, LeaseRequest, LeasedShard, OperatorRequest,
    OrderingKey, OutboxStore, Outcome, RelayId, RowId, Scope, Seq, Settled, StoreCapabilities, StoreError,
};
use outbox_memory::MemoryStore;
use tokio::sync::watch;

/// One relay's way to the store, which a test can close: requests wait before they reach it. So a relay is stopped in
/// the middle of its work, as by SIGSTOP or a long pause of the machine, while all others go on.
#[derive(Clone)]
pub(crate) struct Gate {
    store: MemoryStore,
    closed: Arc<watch::Sender<Closed>>,
    /// How long an answer is on its way back.
    pub(crate) reply_latency: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    Nothing,
    Settles,
    Everything,
}

impl Gate {
    pub(crate) fn new(store: &MemoryStore) -> Self {
        let closed = Arc::new(watch::Sender::new(Closed::Nothing));
        Self { store: store.clone(), closed, reply_latency: Duration::ZERO }
    }

    pub(crate) fn close(&self, what: Closed) {
        self.closed.send_replace(what);
    }

    pub(crate) fn open(&self) {
        self.close(Closed::Nothing);
    }

    async fn pass(&self, settle: bool) {
        let mut closed = self.closed.subscribe();
        let open = |closed: &Closed| match closed {
            Closed::Nothing => true,
            Closed::Settles => !settle,
            Closed::Everything => false,
        };
        closed.wait_for(open).await.unwrap();
    }

    async fn answer<T>(&self, answer: T) -> T {
        if !self.reply_latency.is_zero() {
            tokio::time::sleep(self.reply_latency).await;
        }
        answer
    }
}

macro_rules! through_the_gate {
    ($(async fn $name:ident(&self $(, $arg:ident: $type:ty)*) -> $result:ty;)*) => {
        #[async_trait]
        impl OutboxStore for Gate {
            fn capabilities(&self) -> StoreCapabilities {
                self.store.capabilities()
            }

            $(async fn $name(&self $(, $arg: $type)*) -> $result {
                self.pass(stringify!($name) == "settle").await;
                let answer = self.store.$name($($arg),*).await;
                self.answer(answer).await
            })*
        }
    };
}

through_the_gate! {
    async fn check(&self) -> Result<(), StoreError>;
    async fn renew(&self, request: &LeaseRequest) -> Result<Lease, StoreError>;
    async fn acquire(&self, request: &LeaseRequest, most: usize) -> Result<Vec<LeasedShard>, StoreError>;
    async fn release(&self, fence: &Fence) -> Result<(), StoreError>;
    async fn retire(&self, relay: RelayId) -> Result<(), StoreError>;
    async fn absolve(&self, fence: &Fence) -> Result<(), StoreError>;
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, StoreError>;
    async fn scan(&self, scope: &Scope, after: Seq, upto: Seq, limit: usize) -> Result<Vec<Seq>, StoreError>;
    async fn holds(&self, scope: &Scope, keys: Option<&[OrderingKey]>, limit: usize) -> Result<Vec<KeyHold>, StoreError>;
    async fn next_due(&self, scope: &Scope) -> Result<Option<Duration>, StoreError>;
    async fn requests(&self, scope: &Scope, limit: usize) -> Result<Vec<OperatorRequest>, StoreError>;
    async fn settle(&self, fence: &Fence, outcomes: &[(RowId, Outcome)]) -> Result<Settled, StoreError>;
    async fn is_empty(&self) -> Result<bool, StoreError>;
    async fn mark_late_commits(&self) -> Result<LateCommitMark, StoreError>;
    async fn late_commits_over(&self, mark: &LateCommitMark) -> Result<bool, StoreError>;
}
