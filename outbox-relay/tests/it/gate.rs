use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Claim, ClaimRequest, Fence, KeyHold, LateCommitMark, Lease, LeaseRequest, LeasedShard, OperatorRequest,
    OrderingKey, OutboxStore, Outcome, RelayId, RowId, Scope, Seq, Settled, StoreCapabilities, StoreError,
    StoreErrorKind,
};
use outbox_memory::MemoryStore;
use tokio::sync::watch;
use tokio::time::Instant;

/// One relay's way to the store, which a test can close: requests wait before they reach it. So a relay is stopped in
/// the middle of its work, as by SIGSTOP or a long pause of the machine, while all others go on.
#[derive(Clone)]
pub(crate) struct Gate {
    store: MemoryStore,
    closed: Arc<watch::Sender<Closed>>,
    /// What is asked before this time is never answered.
    silent_until: Arc<Mutex<Option<Instant>>>,
    asked: Arc<AtomicUsize>,
    /// A settle that replays something fails.
    refuses_replays: Arc<AtomicBool>,
    /// How long an answer is on its way back.
    pub(crate) reply_latency: Duration,
    /// The same for a settle, where it is another.
    pub(crate) settle_latency: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    Nothing,
    Settles,
    Everything,
}

/// More than any relay asks in a day.
const ASKED: usize = 1_000_000;

impl Gate {
    pub(crate) fn new(store: &MemoryStore) -> Self {
        let closed = Arc::new(watch::Sender::new(Closed::Nothing));
        Self {
            store: store.clone(),
            closed,
            silent_until: Arc::default(),
            asked: Arc::default(),
            refuses_replays: Arc::default(),
            reply_latency: Duration::ZERO,
            settle_latency: None,
        }
    }

    /// As if all replays took too long.
    pub(crate) fn refuse_replays(&self, refuse: bool) {
        self.refuses_replays.store(refuse, Ordering::Relaxed);
    }

    /// What is behind it.
    pub(crate) fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// What is asked within this time is swallowed, as by a connection that nobody has closed.
    pub(crate) fn swallow(&self, time: Duration) {
        *self.silent_until.lock().unwrap() = Some(Instant::now() + time);
    }

    pub(crate) fn close(&self, what: Closed) {
        self.closed.send_replace(what);
    }

    pub(crate) fn open(&self) {
        self.close(Closed::Nothing);
    }

    async fn pass(&self, settle: bool) {
        // Where answers take no time, whoever asks in circles does so for ever: paused time goes on when all wait.
        assert!(self.asked.fetch_add(1, Ordering::Relaxed) < ASKED, "the store is asked in circles");
        let silent = self.silent_until.lock().unwrap().is_some_and(|until| Instant::now() < until);
        if silent {
            std::future::pending::<()>().await;
        }
        let mut closed = self.closed.subscribe();
        let open = |closed: &Closed| match closed {
            Closed::Nothing => true,
            Closed::Settles => !settle,
            Closed::Everything => false,
        };
        closed.wait_for(open).await.unwrap();
    }

    async fn answer<T>(&self, answer: T) -> T {
        Self::answer_after(self.reply_latency, answer).await
    }

    async fn answer_after<T>(latency: Duration, answer: T) -> T {
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
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
                self.pass(false).await;
                let answer = self.store.$name($($arg),*).await;
                self.answer(answer).await
            })*

            // What is written is on its way, whoever still waits for an answer: it arrives when the gate opens.
            async fn renew(&self, request: &LeaseRequest) -> Result<Lease, StoreError> {
                let (gate, request) = (self.clone(), request.clone());
                let sent = tokio::spawn(async move {
                    gate.pass(false).await;
                    let answer = gate.store.renew(&request).await;
                    gate.answer(answer).await
                });
                sent.await.unwrap()
            }

            async fn settle(&self, fence: &Fence, outcomes: &[(RowId, Outcome)]) -> Result<Settled, StoreError> {
                let replays = outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Replay);
                if replays && self.refuses_replays.load(Ordering::Relaxed) {
                    let refused = StoreError::new(StoreErrorKind::Unavailable, "settle", "too much");
                    return Self::answer_after(self.settle_latency.unwrap_or_default(), Err(refused)).await;
                }
                let (gate, fence, outcomes) = (self.clone(), fence.clone(), outcomes.to_vec());
                let sent = tokio::spawn(async move {
                    gate.pass(true).await;
                    let answer = gate.store.settle(&fence, &outcomes).await;
                    Self::answer_after(gate.settle_latency.unwrap_or(gate.reply_latency), answer).await
                });
                sent.await.unwrap()
            }
        }
    };
}

through_the_gate! {
    async fn check(&self) -> Result<(), StoreError>;
    async fn acquire(&self, request: &LeaseRequest, most: usize) -> Result<Vec<LeasedShard>, StoreError>;
    async fn release(&self, fence: &Fence) -> Result<(), StoreError>;
    async fn retire(&self, relay: RelayId) -> Result<(), StoreError>;
    async fn absolve(&self, fence: &Fence) -> Result<(), StoreError>;
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, StoreError>;
    async fn scan(&self, scope: &Scope, after: Seq, upto: Seq, limit: usize) -> Result<Vec<Seq>, StoreError>;
    async fn holds(&self, scope: &Scope, keys: Option<&[OrderingKey]>, limit: usize) -> Result<Vec<KeyHold>, StoreError>;
    async fn next_due(&self, scope: &Scope) -> Result<Option<Duration>, StoreError>;
    async fn requests(&self, scope: &Scope, limit: usize) -> Result<Vec<OperatorRequest>, StoreError>;
    async fn is_empty(&self) -> Result<bool, StoreError>;
    async fn mark_late_commits(&self) -> Result<LateCommitMark, StoreError>;
    async fn late_commits_over(&self, mark: &LateCommitMark) -> Result<bool, StoreError>;
}
