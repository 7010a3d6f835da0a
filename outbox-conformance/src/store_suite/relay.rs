use std::sync::Arc;
use std::time::Duration;

use outbox_core::{
    ClaimRequest, ClaimSource, DeadLetter, DeadLetterQuery, DeadReason, DuePosition, Epoch, Fence, HoldState,
    Lease, LeaseRequest, LeasedShard, MessageId, OperatorAction, OperatorRequest, OrderingKey, OutboxAdmin,
    OutboxMessage, OutboxStore, Outcome, RelayId, RowId, Scope, Seq, Settled, ShardId, ShardSet,
    StoreErrorKind, StoredMessage, TopicFilter,
};

use super::eventually::Patience;
use crate::StoreFixture;

/// What a relay does with its store, without its decisions: each case takes those itself.
#[derive(Debug)]
pub(super) struct TestRelay<S> {
    pub(super) store: Arc<S>,
    pub(super) id: RelayId,
    pub(super) shard_count: u8,
    pub(super) owned: Vec<(ShardId, Epoch)>,
}

/// Long enough that no lease of a case that does not ask for it runs out.
pub(super) const LONG: Duration = Duration::from_secs(600);
/// A lease that runs out before anybody looks.
pub(super) const BRIEF: Duration = Duration::from_millis(1);
/// More than any case has.
pub(super) const MANY: usize = 10_000;

impl<S: OutboxStore + OutboxAdmin> TestRelay<S> {
    /// A relay that owns nothing yet, and has given one sign of life.
    pub(super) async fn idle<F: StoreFixture<Store = S>>(fixture: &F) -> Self {
        let mut relay =
            Self { store: fixture.store(), id: RelayId::new(), shard_count: 0, owned: Vec::new() };
        relay.shard_count = relay.renew(LONG).await.shard_count;
        relay
    }

    /// A relay that owns every shard.
    pub(super) async fn owner<F: StoreFixture<Store = S>>(fixture: &F) -> Self {
        let mut relay = Self::idle(fixture).await;
        relay.acquire(MANY).await;
        assert_eq!(relay.owned.len(), usize::from(relay.shard_count), "nobody else owns a shard");
        relay
    }

    pub(super) async fn renew(&self, ttl: Duration) -> Lease {
        self.store.renew(&self.request(ttl)).await.unwrap()
    }

    pub(super) fn request(&self, ttl: Duration) -> LeaseRequest {
        LeaseRequest { relay: self.id, ttl, label: "test relay".to_owned() }
    }

    /// Takes shards for a long time, as many as it gets up to `most`. A conflict is no answer: the relay asks again.
    pub(super) async fn acquire(&mut self, most: usize) -> Vec<LeasedShard> {
        let patience = Patience::new();
        let leased = loop {
            match self.store.acquire(&self.request(LONG), most).await {
                Ok(leased) => break leased,
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error}"),
            }
            patience.pause("an answer without conflict").await;
        };
        assert!(leased.len() <= most);
        self.owned.retain(|(shard, _)| leased.iter().all(|new| new.shard != *shard));
        self.owned.extend(leased.iter().map(|new| (new.shard, new.epoch)));
        leased
    }

    /// Takes every shard as its lease runs out.
    pub(super) async fn take_over(&mut self) -> Vec<LeasedShard> {
        let patience = Patience::new();
        let mut leased = self.acquire(MANY).await;
        while leased.len() < usize::from(self.shard_count) {
            patience.pause("the leases run out").await;
            leased.extend(self.acquire(MANY).await);
        }
        leased
    }

    pub(super) fn fence(&self) -> Fence {
        Fence::new(self.id, self.owned.iter().copied())
    }

    /// Every shard, every topic.
    pub(super) fn scope(&self) -> Scope {
        Scope { shards: ShardSet::all(self.shard_count), topics: TopicFilter::all() }
    }

    pub(super) async fn claim_in(&self, scope: &Scope, source: ClaimSource) -> Vec<StoredMessage> {
        let request = ClaimRequest { scope: scope.clone(), source, limit: MANY, max_bytes: usize::MAX >> 1 };
        let claim = self.store.claim(&request).await.unwrap();
        assert!(!claim.more, "neither limit nor budget ended the read");
        claim.rows
    }

    pub(super) async fn claim(&self, source: ClaimSource) -> Vec<StoredMessage> {
        self.claim_in(&self.scope(), source).await
    }

    pub(super) async fn fresh(&self) -> Vec<StoredMessage> {
        self.claim(ClaimSource::Fresh { after: 0 }).await
    }

    pub(super) async fn due(&self) -> Vec<StoredMessage> {
        self.due_after(None).await
    }

    pub(super) async fn due_after(&self, after: Option<DuePosition>) -> Vec<StoredMessage> {
        self.claim(ClaimSource::Due { after }).await
    }

    pub(super) async fn held(&self, key: &str) -> Vec<StoredMessage> {
        self.claim(ClaimSource::Held { keys: vec![OrderingKey::stored(key)], after: 0 }).await
    }

    pub(super) async fn next_due(&self) -> Option<Duration> {
        self.store.next_due(&self.scope()).await.unwrap()
    }

    /// Why the key does not flow; `None` if it flows.
    pub(super) async fn hold(&self, key: &str) -> Option<HoldState> {
        let keys = [OrderingKey::stored(key)];
        let holds = self.store.holds(&self.scope(), Some(&keys), 10).await.unwrap();
        assert!(holds.len() <= 1, "a key is listed once: {holds:?}");
        holds.first().map(|hold| {
            assert_eq!(hold.key, keys[0]);
            hold.state
        })
    }

    pub(super) async fn requests(&self) -> Vec<OperatorRequest> {
        self.store.requests(&self.scope(), MANY).await.unwrap()
    }

    /// Has an operator ask for something, and returns what the owner of the shard then sees of it.
    pub(super) async fn asked(&self, message: &OutboxMessage, action: OperatorAction) -> OperatorRequest {
        assert_eq!(self.store.request(&[*message.id()], action).await.unwrap(), 1);
        let found = self.requests().await.into_iter().find(|request| request.id == *message.id());
        let found = found.expect("the owner sees the request");
        assert_eq!(found.action, action);
        found
    }

    /// All dead letters, the newest first.
    pub(super) async fn dead(&self) -> Vec<DeadLetter> {
        let query = DeadLetterQuery { limit: MANY, ..DeadLetterQuery::default() };
        self.store.dead_letters(&query).await.unwrap()
    }

    /// The dead letter of this message.
    pub(super) async fn dead_letter(&self, message: &OutboxMessage) -> Option<DeadLetter> {
        self.dead().await.into_iter().find(|letter| letter.message.id() == message.id())
    }

    /// Settles under the relay's own fence, which holds.
    pub(super) async fn settle(&self, outcomes: &[(RowId, Outcome)]) -> u64 {
        let settled = self.settle_with(&self.fence(), outcomes).await;
        assert!(!settled.stale, "the fence holds");
        settled.applied
    }

    /// Settles under any fence. A conflict with somebody else's transaction is no result: the relay asks again.
    pub(super) async fn settle_with(&self, fence: &Fence, outcomes: &[(RowId, Outcome)]) -> Settled {
        let patience = Patience::new();
        loop {
            match self.store.settle(fence, outcomes).await {
                Ok(settled) => return settled,
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error}"),
            }
            patience.pause("a settle without conflict").await;
        }
    }

    /// The one fresh row of this message.
    pub(super) async fn fresh_row(&self, message: &OutboxMessage) -> RowId {
        row_of(&self.fresh().await, message)
    }

    /// Lets the first message fail and holds the others behind it.
    pub(super) async fn block(&self, messages: &[OutboxMessage], retry_after: Duration) {
        let rows = self.fresh().await;
        let head = *messages[0].id();
        let outcomes = messages.iter().map(|message| {
            let outcome =
                if *message.id() == head { retry(1, retry_after) } else { Outcome::Hold { behind: head } };
            (row_of(&rows, message), outcome)
        });
        assert_eq!(self.settle(&outcomes.collect::<Vec<_>>()).await, messages.len() as u64);
    }

    /// Lets the first message die and parks the others behind it.
    pub(super) async fn park(&self, messages: &[OutboxMessage]) {
        let rows = self.fresh().await;
        let head = *messages[0].id();
        let outcomes = messages.iter().map(|message| {
            let is_head = *message.id() == head;
            let outcome = Outcome::Dead {
                attempts: u16::from(is_head),
                reason: if is_head { DeadReason::Rejected } else { DeadReason::ParkedBehind },
                error: is_head.then(|| "too large".to_owned()),
                parked_behind: Some(head),
            };
            (row_of(&rows, message), outcome)
        });
        assert_eq!(self.settle(&outcomes.collect::<Vec<_>>()).await, messages.len() as u64);
    }
}

pub(super) fn retry(attempts: u16, after: Duration) -> Outcome {
    Outcome::Retry { attempts, after, error: "broker said no".to_owned() }
}

/// Dead without parking its key.
pub(super) fn rejected() -> Outcome {
    Outcome::Dead {
        attempts: 1,
        reason: DeadReason::Rejected,
        error: Some("too large".to_owned()),
        parked_behind: None,
    }
}

pub(super) fn find<'a>(rows: &'a [StoredMessage], message: &OutboxMessage) -> &'a StoredMessage {
    let mut found = rows.iter().filter(|row| row.message.id() == message.id());
    let row = found.next().expect("the message is among the rows");
    assert!(found.next().is_none(), "the message is there once");
    row
}

pub(super) fn row_of(rows: &[StoredMessage], message: &OutboxMessage) -> RowId {
    find(rows, message).row
}

pub(super) fn ids(rows: &[StoredMessage]) -> Vec<MessageId> {
    rows.iter().map(|row| *row.message.id()).collect()
}

pub(super) fn seqs(rows: &[StoredMessage]) -> Vec<Seq> {
    rows.iter().map(|row| row.seq).collect()
}

pub(super) fn delivered(rows: &[StoredMessage]) -> Vec<(RowId, Outcome)> {
    rows.iter().map(|row| (row.row, Outcome::Delivered)).collect()
}
