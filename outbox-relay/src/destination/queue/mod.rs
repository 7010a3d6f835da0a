mod admit;
mod fetch;
mod hold;
mod judge;
mod send;
mod settle;
mod shards;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use outbox_core::{Lane, OrderingKey, RowId, Seq, ShardId, ShardSet};
use tokio::time::Instant;

use crate::destination::careful::Careful;
use crate::destination::entry::{Entry, Settlement};
use crate::destination::key::{Hold, Key};
use crate::destination::owned::Owned;
use crate::metrics::BatchTally;
use crate::policy::{RetryPolicy, TopicPolicies};
use crate::stats::Counters;

/// Everything a destination has in memory: rows that were read, in the order of their keys, and decisions that are to
/// be written.
///
/// A state machine without I/O and without a clock of its own: rows and results go in, batches and settlements come
/// out.
#[derive(Debug)]
pub(crate) struct Queue {
    policy: QueuePolicy,
    random: fastrand::Rng,
    counters: Arc<Counters>,
    owned: Owned,
    /// Shards that are being handed over: what is under way is finished, nothing new is taken.
    leaving: ShardSet,
    /// Rows in memory: queued, with the transport, or being settled. A row in here is not taken again, however often it
    /// is read.
    known: HashSet<RowId, RandomState>,
    per_shard: [usize; 64],
    bytes: usize,
    /// Looked into half a dozen times for each message, and iterated only where the order of keys does not matter. Seeded
    /// at random, so that keys that collide can't be chosen from afar.
    keys: HashMap<OrderingKey, Key, RandomState>,
    /// Keys that can send, in turn.
    sendable: VecDeque<OrderingKey>,
    unkeyed: VecDeque<Entry>,
    /// Where a batch is one message: whether an unkeyed one had the last turn.
    unkeyed_had_turn: bool,
    paused_keys: BinaryHeap<Reverse<(Instant, OrderingKey)>>,
    paused_unkeyed: Vec<(Instant, Entry)>,
    fetchable: VecDeque<OrderingKey>,
    /// A key that is about to fill its window.
    crowded: Option<Crowded>,
    settlements: Vec<Settlement>,
    /// What operators have asked for: in settles of its own, because one of a key with very many dead letters may take
    /// longer than a settle is given.
    requests: Vec<Settlement>,
    careful: Careful,
    in_flight: usize,
    /// Batches in which the destination answered for some message.
    answers: u64,
}

#[derive(Debug)]
struct Crowded {
    key: OrderingKey,
    /// How long reading waits for it; `None` until somebody has asked.
    until: Option<Instant>,
}

/// How long reading waits for a hot key that is on its way: 4,000 messages of it go to a broker in less, where they go
/// together. Moving one to the deferred table, and fetching it from there, costs three writes more.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub(crate) struct QueuePolicy {
    pub(crate) retry: RetryPolicy,
    pub(crate) on_dead: TopicPolicies,
    pub(crate) pipelined_order: bool,
    pub(crate) window_per_key: usize,
    pub(crate) window_rows: usize,
}

impl QueuePolicy {
    /// Whether a key has little room left in its window. One message at a time is no way to make room soon.
    fn is_crowded(&self, key: &Key) -> bool {
        self.pipelined_order && key.queue.len() >= self.window_per_key - self.window_per_key / 4
    }
}

/// What a batch says about the destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Messages that the broker answered for, in whatever way.
    pub(crate) answered: usize,
    pub(crate) unavailable: usize,
    pub(crate) unknown: usize,
    /// What the broker said, if it was not available.
    pub(crate) example: Option<String>,
    /// For the metrics.
    pub(crate) tally: BatchTally,
}

/// What a settle makes necessary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Aftermath {
    /// A deferred row falls due this long from now.
    pub(crate) due_in: Option<Duration>,
    /// A message that is for later was put aside; only the table says when it falls due.
    pub(crate) delayed: bool,
}

impl Queue {
    pub(crate) fn new(policy: QueuePolicy, random: fastrand::Rng, counters: Arc<Counters>) -> Self {
        Self {
            policy,
            random,
            counters,
            owned: Owned::none(),
            leaving: ShardSet::none(64),
            known: HashSet::default(),
            per_shard: [0; 64],
            bytes: 0,
            keys: HashMap::default(),
            sendable: VecDeque::new(),
            unkeyed: VecDeque::new(),
            unkeyed_had_turn: false,
            paused_keys: BinaryHeap::new(),
            paused_unkeyed: Vec::new(),
            fetchable: VecDeque::new(),
            crowded: None,
            settlements: Vec::new(),
            requests: Vec::new(),
            careful: Careful::off(),
            in_flight: 0,
            answers: 0,
        }
    }

    /// An empty one with the usual policies.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let policy = QueuePolicy {
            retry: RetryPolicy::default(),
            on_dead: TopicPolicies::default(),
            pipelined_order: false,
            window_per_key: 1,
            window_rows: 1,
        };
        Self::new(policy, fastrand::Rng::with_seed(0), Arc::default())
    }

    pub(crate) fn owned(&self) -> &Owned {
        &self.owned
    }

    /// The shards whose rows are taken.
    pub(crate) fn reading(&self) -> ShardSet {
        let mut shards = self.owned.shards();
        self.leaving.iter().for_each(|shard| shards.remove(shard));
        shards
    }

    pub(crate) fn rows(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Decisions that are to be written, without what operators have asked for.
    pub(crate) fn unsettled(&self) -> usize {
        self.settlements.len()
    }

    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    pub(crate) fn knows(&self, row: RowId) -> bool {
        self.known.contains(&row)
    }

    /// The fresh rows in memory with `after < seq <= upto`.
    pub(crate) fn known_between(&self, after: Seq, upto: Seq) -> HashSet<Seq, RandomState> {
        let fresh = self.known.iter().filter(|row| row.lane == Lane::Fresh).map(|row| row.number);
        fresh.filter(|seq| (after + 1..=upto).contains(seq)).collect()
    }

    /// Until when nothing is to be read, because a hot key would exceed its window, and may soon have room again.
    pub(crate) fn waits_for_key(&mut self, now: Instant) -> Option<Instant> {
        let crowded = self.crowded.as_mut()?;
        let state = self.keys.get(&crowded.key);
        if !state.is_some_and(|state| state.hold == Hold::Free && self.policy.is_crowded(state)) {
            self.crowded = None;
            return None;
        }
        let until = *crowded.until.get_or_insert(now + PATIENCE);
        Some(until).filter(|until| now < *until)
    }

    pub(crate) fn has_sendable(&self) -> bool {
        !self.sendable.is_empty() || !self.unkeyed.is_empty()
    }

    fn forget(&mut self, row: RowId, shard: ShardId, size: usize) {
        if self.known.remove(&row) {
            self.bytes = self.bytes.saturating_sub(size);
            if let Some(rows) = self.per_shard.get_mut(usize::from(shard)) {
                *rows = rows.saturating_sub(1);
            }
        }
    }
}
