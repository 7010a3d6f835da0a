use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use outbox_core::{
    DeadReason, HoldState, KeyHold, Lane, MessageId, OperatorAction, OperatorRequest, OrderingKey, Outcome,
    PublishError, PublishErrorKind, RowId, Seq, ShardId, ShardSet, StoredMessage,
};
use tokio::time::Instant;

use super::careful::Careful;
use super::entry::{Batch, Entry, Meta, Results, Settlement};
use super::key::{Fetch, Hold, Key};
use super::owned::Owned;
use crate::decide::{Attempt, Situation, Transition, decide};
use crate::policy::{OnDead, RetryPolicy, TopicPolicies};
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
    known: HashSet<RowId>,
    per_shard: [usize; 64],
    bytes: usize,
    keys: HashMap<OrderingKey, Key>,
    /// Keys that can send, in turn.
    sendable: VecDeque<OrderingKey>,
    unkeyed: VecDeque<Entry>,
    paused_keys: BinaryHeap<Reverse<(Instant, OrderingKey)>>,
    paused_unkeyed: Vec<(Instant, Entry)>,
    fetchable: VecDeque<OrderingKey>,
    settlements: Vec<Settlement>,
    careful: Careful,
    in_flight: usize,
    /// Batches in which the destination answered for some message.
    answers: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct QueuePolicy {
    pub(crate) retry: RetryPolicy,
    pub(crate) on_dead: TopicPolicies,
    pub(crate) pipelined_order: bool,
    pub(crate) window_per_key: usize,
    pub(crate) window_rows: usize,
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
}

/// What a settle makes necessary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Aftermath {
    /// A deferred row falls due this long from now.
    pub(crate) due_in: Option<std::time::Duration>,
}

impl Queue {
    pub(crate) fn new(policy: QueuePolicy, random: fastrand::Rng, counters: Arc<Counters>) -> Self {
        Self {
            policy,
            random,
            counters,
            owned: Owned::none(),
            leaving: ShardSet::none(64),
            known: HashSet::new(),
            per_shard: [0; 64],
            bytes: 0,
            keys: HashMap::new(),
            sendable: VecDeque::new(),
            unkeyed: VecDeque::new(),
            paused_keys: BinaryHeap::new(),
            paused_unkeyed: Vec::new(),
            fetchable: VecDeque::new(),
            settlements: Vec::new(),
            careful: Careful::off(),
            in_flight: 0,
            answers: 0,
        }
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

    pub(crate) fn unsettled(&self) -> usize {
        self.settlements.len()
    }

    pub(crate) fn knows(&self, row: RowId) -> bool {
        self.known.contains(&row)
    }

    pub(crate) fn has_sendable(&self) -> bool {
        !self.sendable.is_empty() || !self.unkeyed.is_empty()
    }

    // Shards

    /// Takes a shard in, after its held and parked keys were read.
    pub(crate) fn gain(&mut self, count: u8, shard: ShardId, epoch: i64, careful: bool) {
        self.owned.set_count(count);
        self.owned.insert(shard, epoch);
        self.leaving.remove(shard);
        if careful {
            self.careful.include(shard, self.policy.window_rows);
        }
    }

    /// Stops taking rows of a shard and forgets those that are only queued. What is under way is finished.
    pub(crate) fn leave(&mut self, shard: ShardId) {
        if !self.leaving.contains(shard) {
            self.leaving.insert(shard);
            self.forget_queued(shard);
        }
    }

    /// Forgets a shard that another relay may own by now.
    pub(crate) fn lose(&mut self, shard: ShardId) {
        self.owned.remove(shard);
        self.leaving.remove(shard);
        self.forget_queued(shard);
    }

    /// Whether nothing of a shard is under way any more.
    pub(crate) fn has_left(&self, shard: ShardId) -> bool {
        self.per_shard
            .get(usize::from(shard))
            .is_none_or(|rows| *rows == 0)
    }

    fn forget_queued(&mut self, shard: ShardId) {
        let mut gone: Vec<Meta> = self
            .careful
            .forget(shard)
            .into_iter()
            .map(|entry| entry.meta)
            .collect();
        for key in self.keys.values_mut().filter(|key| key.shard == shard) {
            gone.extend(key.queue.drain(..).map(|entry| entry.meta));
            key.hold = Hold::Free;
            key.fetch = Fetch::No;
            key.paused_until = None;
        }
        self.keys.retain(|_, key| key.shard != shard || !key.is_idle());
        let mut keep = VecDeque::with_capacity(self.unkeyed.len());
        for entry in self.unkeyed.drain(..) {
            if entry.meta.shard == shard {
                gone.push(entry.meta)
            } else {
                keep.push_back(entry)
            }
        }
        self.unkeyed = keep;
        let (left, stay) = std::mem::take(&mut self.paused_unkeyed)
            .into_iter()
            .partition(|(_, entry)| entry.meta.shard == shard);
        self.paused_unkeyed = stay;
        let left: Vec<(Instant, Entry)> = left;
        gone.extend(left.into_iter().map(|(_, entry)| entry.meta));
        gone.iter()
            .for_each(|meta| self.forget(meta.row, meta.shard, meta.size));
    }

    // Rows in

    /// Takes keys that do not flow, as they are stored.
    pub(crate) fn take_holds(&mut self, holds: Vec<KeyHold>) {
        for KeyHold { key, shard, state } in holds {
            let known = self.keys.entry(key.clone()).or_insert_with(|| Key::new(shard));
            if known.hold != Hold::Free {
                continue;
            }
            match state {
                HoldState::Retrying { head, seq } => known.hold = Hold::Retrying { head, seq },
                HoldState::Parked { behind } => {
                    known.hold = Hold::Parked { behind };
                    known.fetch = Fetch::Wanted;
                }
                HoldState::Releasing { first } => {
                    known.hold = Hold::Releasing { behind: None, first };
                    known.fetch = Fetch::Wanted;
                }
                _ => {}
            }
            self.refresh(&key);
        }
    }

    /// Takes a row, unless it is in memory already or its shard is not ours. Says whether it was new.
    pub(crate) fn admit(&mut self, stored: StoredMessage) -> bool {
        let Some(epoch) = self.owned.epoch(stored.shard) else {
            return false;
        };
        if self.leaving.contains(stored.shard) || !self.known.insert(stored.row) {
            return false;
        }
        let StoredMessage {
            row,
            seq,
            shard,
            attempts,
            held,
            due_in,
            message,
            defect,
            ..
        } = stored;
        let size = message.size();
        self.bytes += size;
        if let Some(rows) = self.per_shard.get_mut(usize::from(shard)) {
            *rows += 1;
        }
        let begun = self.careful.is_begun(message.id(), attempts);
        let meta = Meta {
            row,
            seq,
            shard,
            epoch,
            attempts,
            unknowns: 0,
            answers: 0,
            size,
            held,
            begun,
            defect,
        };
        let entry = Entry { meta, message };
        if let Some(due_in) = due_in {
            self.counters.delayed.add(1);
            tracing::trace!(id = %entry.message.id(), ?due_in, "its time has not come");
            self.settle(&entry.meta, Outcome::Delay, None);
        } else if let Some(key) = entry.message.ordering_key().cloned() {
            self.admit_keyed(key, entry);
        } else {
            self.unkeyed.push_back(entry);
        }
        true
    }

    fn admit_keyed(&mut self, key: OrderingKey, entry: Entry) {
        let id = *entry.message.id();
        let state = self
            .keys
            .entry(key.clone())
            .or_insert_with(|| Key::new(entry.meta.shard));
        let retrying = entry.meta.row.lane == Lane::Deferred && entry.meta.attempts > 0 && !entry.meta.held;
        match state.hold {
            Hold::Free if retrying => {
                state.hold = Hold::Retrying {
                    head: id,
                    seq: entry.meta.seq,
                };
                state.insert(entry);
            }
            // One hot key must not fill the window and keep all others out: the rest of it waits in the deferred
            // table, where it can be found by key.
            Hold::Free
                if state.queue.len() >= self.policy.window_per_key && entry.meta.row.lane == Lane::Fresh =>
            {
                let behind = state.queue.back().map(|last| *last.message.id());
                state.hold = Hold::Releasing {
                    behind,
                    first: entry.meta.seq,
                };
                state.fetch = Fetch::Wanted;
                self.hold_behind(&key, &entry, behind.unwrap_or(id));
            }
            Hold::Free => state.insert(entry),
            Hold::Retrying { head, .. } if head == id => state.insert(entry),
            Hold::Retrying { head, .. } => self.hold_behind(&key, &entry, head),
            Hold::Releasing { first, .. } if entry.meta.held || entry.meta.seq < first => state.insert(entry),
            Hold::Releasing { behind, .. } => self.hold_behind(&key, &entry, behind.unwrap_or(id)),
            Hold::Parked { behind } => self.park_behind(&key, &entry, behind),
        }
        self.refresh(&key);
    }

    // Batches out

    /// The next messages to send, at most `most`. With order, a key has one message under way, or one run of them
    /// where the transport promises pipelined order.
    pub(crate) fn next_batch(&mut self, most: usize) -> Batch {
        let mut batch = Batch::default();
        // Keyed and unkeyed messages share the batch, so that neither starves the other.
        let share = if self.unkeyed.is_empty() {
            most
        } else {
            most.div_ceil(2)
        };
        // Each key gets one turn per call: those that are listed again while this runs wait for the next batch.
        for _ in 0..self.sendable.len() {
            if batch.len() >= share {
                break;
            }
            let Some(key) = self.sendable.pop_front() else {
                break;
            };
            self.take_from_key(&key, share, &mut batch);
        }
        while batch.len() < most {
            let Some(entry) = self.unkeyed.pop_front() else {
                break;
            };
            self.take_unkeyed(entry, &mut batch);
        }
        self.in_flight += batch.len();
        batch
    }

    fn take_from_key(&mut self, key: &OrderingKey, share: usize, batch: &mut Batch) {
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        state.listed = false;
        if !state.can_send() {
            return;
        }
        if self.careful.applies_to(state.shard) {
            self.take_carefully(key, batch);
            return;
        }
        let longest = if self.policy.pipelined_order {
            share - batch.len()
        } else {
            1
        };
        while state.in_flight < longest {
            match state.queue.front() {
                Some(head) if head.meta.defect.is_none() => {}
                _ => break,
            }
            if let Some(entry) = state.queue.pop_front() {
                state.in_flight += 1;
                batch.push(entry);
            }
        }
        if state.in_flight == 0
            && let Some(entry) = state.queue.pop_front()
        {
            // An unreadable row at the head of its key: it is its turn, but there is nothing to send.
            self.judge(entry, Attempt::Undecodable, None, None);
        }
    }

    fn take_unkeyed(&mut self, entry: Entry, batch: &mut Batch) {
        if entry.meta.defect.is_some() {
            self.judge(entry, Attempt::Undecodable, None, None);
        } else if self.careful.applies_to(entry.meta.shard) && !entry.meta.begun {
            if self.careful.is_busy() {
                self.careful.wait(entry);
            } else {
                self.begin(entry);
            }
        } else {
            if entry.meta.begun {
                self.careful.sent(entry.meta.shard, *entry.message.id());
            }
            batch.push(entry);
        }
    }

    fn take_carefully(&mut self, key: &OrderingKey, batch: &mut Batch) {
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        let begun = state.queue.front().is_some_and(|head| head.meta.begun);
        if !begun && self.careful.is_busy() {
            self.careful.wait_key(key.clone());
            return;
        }
        let Some(entry) = state.queue.pop_front() else {
            return;
        };
        if entry.meta.defect.is_some() {
            self.judge(entry, Attempt::Undecodable, None, None);
        } else if begun {
            state.in_flight += 1;
            self.careful.sent(entry.meta.shard, *entry.message.id());
            batch.push(entry);
        } else {
            self.begin(entry);
        }
    }

    /// Counts a try before it is made. The row moves to the deferred table, due at once, and is read from there.
    fn begin(&mut self, entry: Entry) {
        let id = *entry.message.id();
        let key = entry.message.ordering_key().cloned();
        let allowed = entry
            .message
            .max_attempts()
            .unwrap_or(self.policy.retry.max_attempts);
        if entry.meta.attempts >= allowed {
            let attempts = entry.meta.attempts;
            let park =
                key.is_some() && self.policy.on_dead.of(entry.message.topic().as_str()) != OnDead::Skip;
            self.bury(
                entry,
                attempts,
                DeadReason::CrashedRelay,
                None,
                park.then_some(id),
            );
            return;
        }
        let attempts = entry.meta.attempts.saturating_add(1);
        self.careful.begin(entry.meta.shard, id, attempts);
        self.settle(&entry.meta, Outcome::Begin { attempts }, None);
        if let Some(key) = key {
            self.hold_key(
                &key,
                Hold::Retrying {
                    head: id,
                    seq: entry.meta.seq,
                },
            );
        }
    }

    // Results in

    /// Takes what the transport said about a batch.
    pub(crate) fn complete(&mut self, batch: Batch, results: Results, now: Instant) -> Verdict {
        let mut verdict = Verdict::default();
        self.in_flight = self.in_flight.saturating_sub(batch.len());
        let mut results = results.into_iter();
        let mut failed_keys: HashSet<OrderingKey> = HashSet::new();
        let mut failed = Vec::new();
        for entry in batch.into_entries() {
            let result = results
                .next()
                .unwrap_or_else(|| Err(PublishError::unknown("the transport gave no result")));
            if let Some(state) = entry
                .message
                .ordering_key()
                .and_then(|key| self.keys.get_mut(key))
            {
                state.in_flight = state.in_flight.saturating_sub(1);
            }
            match result {
                Ok(()) => {
                    verdict.answered += 1;
                    self.judge(entry, Attempt::Confirmed, None, Some(now));
                }
                Err(error) => {
                    match error.kind() {
                        PublishErrorKind::Unavailable => verdict.unavailable += 1,
                        PublishErrorKind::Unknown => verdict.unknown += 1,
                        _ => verdict.answered += 1,
                    }
                    if verdict.example.is_none() {
                        verdict.example = Some(describe(Some(&error)));
                    }
                    let first = match entry.message.ordering_key() {
                        Some(key) => failed_keys.insert(key.clone()),
                        None => true,
                    };
                    failed.push((entry, error, first));
                }
            }
        }
        if verdict.answered > 0 {
            self.answers += 1;
        }
        // Later messages of a key go back first: the decision about its head decides about them too.
        for (entry, error, first) in failed.into_iter().rev() {
            if first {
                self.judge(entry, Attempt::Failed(error.kind()), Some(error), Some(now));
            } else {
                self.put_back(entry, None);
            }
        }
        self.counters.unknown.add(verdict.unknown);
        verdict
    }

    fn judge(&mut self, entry: Entry, attempt: Attempt, error: Option<PublishError>, now: Option<Instant>) {
        let meta = &entry.meta;
        if self.owned.epoch(meta.shard) != Some(meta.epoch) {
            self.judge_lost(entry, attempt);
            return;
        }
        let key = entry.message.ordering_key().cloned();
        let transition = decide(Situation {
            attempt,
            attempts: meta.attempts.saturating_add(u16::from(!meta.begun)),
            unknowns: meta.unknowns,
            keyed: key.is_some(),
            max_attempts: entry.message.max_attempts(),
            on_dead: self.policy.on_dead.of(entry.message.topic().as_str()),
            retry: &self.policy.retry,
            random: self.random.f64(),
        });
        if !matches!(transition, Transition::Wait | Transition::Again { .. }) {
            self.careful.finished(entry.message.id());
        }
        match transition {
            Transition::Deliver => {
                self.counters.delivered.add(1);
                self.settle_head(&entry, key, Outcome::Delivered);
            }
            Transition::Wait => self.put_back(entry, None),
            Transition::Again { after } => {
                let mut entry = entry;
                // While the destination answers nobody, an unknown outcome says nothing about the message.
                if entry.meta.unknowns == 0 || self.answers > entry.meta.answers {
                    entry.meta.unknowns = entry.meta.unknowns.saturating_add(1);
                }
                entry.meta.answers = self.answers;
                self.put_back(entry, now.map(|now| now + after));
            }
            Transition::Retry { attempts, after } => {
                self.counters.retried.add(1);
                let error = describe(error.as_ref());
                tracing::debug!(id = %entry.message.id(), attempts, ?after, error, "will be tried again");
                self.settle(
                    &entry.meta,
                    Outcome::Retry {
                        attempts,
                        after,
                        error,
                    },
                    None,
                );
                if let Some(key) = key {
                    self.hold_key(
                        &key,
                        Hold::Retrying {
                            head: *entry.message.id(),
                            seq: entry.meta.seq,
                        },
                    );
                }
            }
            Transition::Bury {
                attempts,
                reason,
                park,
            } => {
                let parked_behind = park.then(|| *entry.message.id());
                let error = match &entry.meta.defect {
                    Some(defect) => Some(defect.clone()),
                    None => error.as_ref().map(|error| describe(Some(error))),
                };
                self.bury(entry, attempts, reason, error, parked_behind);
            }
        }
    }

    /// A result for a row of a shard that was lost meanwhile. A confirmed one is settled all the same, with the epoch it
    /// was read under: the fence refuses that and it is counted, or nobody has taken the shard over and a duplicate is
    /// avoided.
    fn judge_lost(&mut self, entry: Entry, attempt: Attempt) {
        self.careful.finished(entry.message.id());
        if attempt == Attempt::Confirmed {
            self.settle(&entry.meta, Outcome::Delivered, None);
        } else {
            self.forget(entry.meta.row, entry.meta.shard, entry.meta.size);
        }
        if let Some(key) = entry.message.ordering_key().cloned() {
            self.refresh(&key);
        }
    }

    fn bury(
        &mut self,
        entry: Entry,
        attempts: u16,
        reason: DeadReason,
        error: Option<String>,
        parked_behind: Option<MessageId>,
    ) {
        self.counters.dead.add(1);
        tracing::debug!(id = %entry.message.id(), %reason, error, "goes to the dead letters");
        let key = entry.message.ordering_key().cloned();
        let outcome = Outcome::Dead {
            attempts,
            reason,
            error,
            parked_behind,
        };
        match (key, parked_behind) {
            (Some(key), Some(behind)) => {
                self.settle(&entry.meta, outcome, None);
                self.hold_key(&key, Hold::Parked { behind });
            }
            (key, _) => self.settle_head(&entry, key, outcome),
        }
    }

    // Keys

    /// A message is out of the way. If its key was held by it, those behind it can come, once its end is written: until
    /// then the table still says that it is retrying.
    fn settle_head(&mut self, entry: &Entry, key: Option<OrderingKey>, outcome: Outcome) {
        let Some(key) = key else {
            self.settle(&entry.meta, outcome, None);
            return;
        };
        let id = *entry.message.id();
        let mut awaited_by = None;
        if let Some(state) = self.keys.get_mut(&key)
            && matches!(outcome, Outcome::Dead { .. })
        {
            state.burying += 1;
            awaited_by = Some(key.clone());
        }
        if let Some(state) = self.keys.get_mut(&key)
            && let Hold::Retrying { head, seq } = state.hold
            && head == id
        {
            state.hold = Hold::Releasing {
                behind: Some(id),
                first: seq,
            };
            state.fetch = Fetch::Wanted;
            awaited_by = Some(key.clone());
        }
        self.settle(&entry.meta, outcome, awaited_by);
        self.refresh(&key);
    }

    /// Stops a key; what is queued of it goes where the held ones go.
    fn hold_key(&mut self, key: &OrderingKey, hold: Hold) {
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        state.hold = hold;
        state.paused_until = None;
        // Of a parked key also those that wait in the deferred table must follow.
        state.fetch = if matches!(hold, Hold::Parked { .. }) {
            Fetch::Wanted
        } else {
            Fetch::No
        };
        for entry in std::mem::take(&mut state.queue) {
            match hold {
                Hold::Parked { behind } => self.park_behind(key, &entry, behind),
                Hold::Retrying { head, .. } => self.hold_behind(key, &entry, head),
                Hold::Free | Hold::Releasing { .. } => {}
            }
        }
        self.refresh(key);
    }

    fn hold_behind(&mut self, key: &OrderingKey, entry: &Entry, behind: MessageId) {
        if entry.meta.held {
            // It waits in the deferred table already, and is fetched from there when its time comes.
            self.forget(entry.meta.row, entry.meta.shard, entry.meta.size);
            return;
        }
        self.counters.held.add(1);
        if let Some(state) = self.keys.get_mut(key) {
            state.moves += 1;
        }
        self.settle(&entry.meta, Outcome::Hold { behind }, Some(key.clone()));
    }

    fn park_behind(&mut self, key: &OrderingKey, entry: &Entry, behind: MessageId) {
        self.counters.dead.add(1);
        let outcome = Outcome::Dead {
            attempts: entry.meta.attempts,
            reason: DeadReason::ParkedBehind,
            error: None,
            parked_behind: Some(behind),
        };
        self.settle(&entry.meta, outcome, Some(key.clone()));
    }

    /// Puts a message that was not decided about back at its place, to be sent again, at the earliest at `not_before`.
    fn put_back(&mut self, entry: Entry, not_before: Option<Instant>) {
        if self.owned.epoch(entry.meta.shard) != Some(entry.meta.epoch) {
            self.forget(entry.meta.row, entry.meta.shard, entry.meta.size);
            return;
        }
        if entry.meta.begun {
            // It stays the one under way: its try is counted, and it is sent next.
            self.careful
                .begin(entry.meta.shard, *entry.message.id(), entry.meta.attempts);
        }
        if self.leaving.contains(entry.meta.shard) {
            // The next owner sends it.
            self.forget(entry.meta.row, entry.meta.shard, entry.meta.size);
            if let Some(key) = entry.message.ordering_key() {
                self.refresh(key);
            }
            return;
        }
        let Some(key) = entry.message.ordering_key().cloned() else {
            match not_before {
                Some(time) => self.paused_unkeyed.push((time, entry)),
                None => self.unkeyed.push_front(entry),
            }
            return;
        };
        let state = self
            .keys
            .entry(key.clone())
            .or_insert_with(|| Key::new(entry.meta.shard));
        state.insert(entry);
        if let Some(time) = not_before {
            state.paused_until = Some(time);
            self.paused_keys.push(Reverse((time, key.clone())));
        }
        self.refresh(&key);
    }

    /// Lets go on what was paused until now.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.relist_careful();
        while let Some(Reverse((time, _))) = self.paused_keys.peek() {
            if *time > now {
                break;
            }
            let Some(Reverse((time, key))) = self.paused_keys.pop() else {
                break;
            };
            if let Some(state) = self.keys.get_mut(&key)
                && state.paused_until == Some(time)
            {
                state.paused_until = None;
                self.refresh(&key);
            }
        }
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.paused_unkeyed)
            .into_iter()
            .partition(|(time, _)| *time <= now);
        self.paused_unkeyed = later;
        self.unkeyed.extend(due.into_iter().map(|(_, entry)| entry));
    }

    pub(crate) fn next_resume(&self) -> Option<Instant> {
        let keyed = self.paused_keys.peek().map(|Reverse((time, _))| *time);
        let unkeyed = self.paused_unkeyed.iter().map(|(time, _)| *time).min();
        keyed.into_iter().chain(unkeyed).min()
    }

    /// Lists a key where it belongs, or forgets it if there is nothing to remember.
    fn refresh(&mut self, key: &OrderingKey) {
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        if state.can_send() && !state.listed {
            state.listed = true;
            self.sendable.push_back(key.clone());
        }
        if state.can_fetch() {
            self.fetchable.push_back(key.clone());
        } else if state.is_idle() && !state.listed {
            self.keys.remove(key);
        }
    }

    fn relist_careful(&mut self) {
        let (keys, entries) = self.careful.next();
        self.unkeyed.extend(entries);
        keys.iter().for_each(|key| self.refresh(key));
    }

    // Fetching what waits behind others

    /// Keys whose waiting messages are to be read from the deferred table. Every fresh row up to `read_upto` has been
    /// taken: of a key whose waiting ones begin beyond that, an earlier one may still come.
    pub(crate) fn start_fetch(&mut self, most: usize, read_upto: Seq) -> Vec<OrderingKey> {
        let mut keys = Vec::new();
        for _ in 0..self.fetchable.len() {
            if keys.len() >= most {
                break;
            }
            let Some(key) = self.fetchable.pop_front() else {
                break;
            };
            let Some(state) = self.keys.get_mut(&key) else {
                continue;
            };
            if !state.can_fetch() {
                continue;
            }
            if matches!(state.hold, Hold::Releasing { first, .. } if first > read_upto) {
                self.fetchable.push_back(key);
                continue;
            }
            state.fetch = Fetch::Running { moves: state.moves };
            keys.push(key);
        }
        keys
    }

    pub(crate) fn wants_fetch(&self) -> bool {
        !self.fetchable.is_empty()
    }

    /// Takes what was read for [`Queue::start_fetch`], by `seq`; `more` if there may be more.
    ///
    /// Rows beyond `read_upto` are left where they are for now: an earlier fresh one of their key may still come.
    pub(crate) fn fetched(
        &mut self,
        keys: &[OrderingKey],
        rows: Vec<StoredMessage>,
        more: bool,
        read_upto: Seq,
    ) {
        let mut too_early: HashMap<OrderingKey, Seq> = HashMap::new();
        for row in rows {
            if row.seq <= read_upto {
                self.admit(row);
            } else if let Some(key) = row.message.ordering_key() {
                too_early.entry(key.clone()).or_insert(row.seq);
            }
        }
        for key in keys {
            let Some(state) = self.keys.get_mut(key) else {
                continue;
            };
            let Fetch::Running { moves } = state.fetch else {
                continue;
            };
            // Complete only if nothing was moved there since: such a row may have been too late for this read.
            let complete = !more && moves == state.moves && !too_early.contains_key(key);
            state.fetch = if complete { Fetch::No } else { Fetch::Wanted };
            match &mut state.hold {
                Hold::Releasing { .. } if complete => state.hold = Hold::Free,
                Hold::Releasing { first, .. } => {
                    if let Some(seq) = too_early.get(key) {
                        *first = *seq;
                    }
                }
                _ => {}
            }
            self.refresh(key);
        }
    }

    /// The read failed; it is done again.
    pub(crate) fn fetch_failed(&mut self, keys: &[OrderingKey]) {
        for key in keys {
            if let Some(state) = self.keys.get_mut(key)
                && matches!(state.fetch, Fetch::Running { .. })
            {
                state.fetch = Fetch::Wanted;
                self.refresh(key);
            }
        }
    }

    // Settlements out

    fn settle(&mut self, meta: &Meta, outcome: Outcome, awaited_by: Option<OrderingKey>) {
        let Meta {
            row,
            shard,
            epoch,
            size,
            ..
        } = *meta;
        if let Some(state) = awaited_by.as_ref().and_then(|key| self.keys.get_mut(key)) {
            state.writing += 1;
        }
        self.settlements.push(Settlement {
            row,
            shard,
            epoch,
            outcome,
            awaited_by,
            releases: None,
            size,
        });
    }

    /// Carries out what an operator asked for, unless the row is under way.
    pub(crate) fn carry_out(&mut self, request: &OperatorRequest) {
        let Some(epoch) = self.owned.epoch(request.shard) else {
            return;
        };
        if self.leaving.contains(request.shard) || !self.known.insert(request.row) {
            return;
        }
        if let Some(rows) = self.per_shard.get_mut(usize::from(request.shard)) {
            *rows += 1;
        }
        let outcome = match request.action {
            OperatorAction::Replay => Outcome::Replay,
            OperatorAction::Discard => Outcome::Discard,
            _ => return,
        };
        // The key flows again if the whole of it is replayed, or if what it stopped at is discarded.
        let replay = outcome == Outcome::Replay;
        let known = request
            .key
            .as_ref()
            .and_then(|key| self.keys.get(key))
            .map(|key| key.hold);
        let released = match known {
            Some(Hold::Retrying { head, .. }) => !replay && head == request.id,
            Some(Hold::Parked { behind }) => request.parked && (replay || behind == request.id),
            _ => request.parked,
        };
        let releases = request.key.clone().filter(|_| released);
        let OperatorRequest { row, shard, .. } = *request;
        self.settlements.push(Settlement {
            row,
            shard,
            epoch,
            outcome,
            awaited_by: None,
            releases,
            size: 0,
        });
    }

    /// The next decisions to be written. A fence has one epoch per shard, so those that were made under an earlier one
    /// go in a settle of their own, for the fence to refuse.
    pub(crate) fn take_settlements(&mut self, most: usize) -> Vec<Settlement> {
        let is_current =
            |settlement: &Settlement| self.owned.epoch(settlement.shard) == Some(settlement.epoch);
        if !self.settlements.iter().all(is_current) {
            let (current, former): (Vec<_>, Vec<_>) = std::mem::take(&mut self.settlements)
                .into_iter()
                .partition(is_current);
            let mut epochs = HashMap::new();
            let (chosen, mut rest): (Vec<_>, Vec<_>) = former.into_iter().partition(|settlement| {
                *epochs.entry(settlement.shard).or_insert(settlement.epoch) == settlement.epoch
            });
            rest.extend(current);
            self.settlements = rest;
            return chosen;
        }
        if self.settlements.len() <= most {
            return std::mem::take(&mut self.settlements);
        }
        let rest = self.settlements.split_off(most);
        std::mem::replace(&mut self.settlements, rest)
    }

    /// The settlements were written.
    pub(crate) fn settled(&mut self, settlements: Vec<Settlement>) -> Aftermath {
        let mut aftermath = Aftermath::default();
        let mut due = |after: std::time::Duration| {
            aftermath.due_in = Some(aftermath.due_in.map_or(after, |known| known.min(after)));
        };
        for Settlement {
            row,
            shard,
            outcome,
            awaited_by,
            releases,
            size,
            ..
        } in settlements
        {
            self.forget(row, shard, size);
            match outcome {
                Outcome::Retry { after, .. } => due(after),
                Outcome::Begin { .. } | Outcome::Replay | Outcome::Discard => due(std::time::Duration::ZERO),
                _ => {}
            }
            if let Some(key) = awaited_by {
                self.written(&key, &outcome);
            }
            if let Some(key) = releases {
                // What waits behind the one it stopped at is in the deferred table now.
                let state = self.keys.entry(key.clone()).or_insert_with(|| Key::new(shard));
                state.hold = Hold::Releasing {
                    behind: None,
                    first: Seq::MIN,
                };
                state.fetch = Fetch::Wanted;
                self.refresh(&key);
            }
        }
        aftermath
    }

    /// The settlements could not be written; they are tried again.
    pub(crate) fn settle_failed(&mut self, mut settlements: Vec<Settlement>) {
        settlements.append(&mut self.settlements);
        self.settlements = settlements;
    }

    /// The fence refused the settlements. Those of shards that are lost are given up; the others are tried again.
    pub(crate) fn settle_stale(&mut self, settlements: Vec<Settlement>) {
        let mut again = Vec::new();
        for settlement in settlements {
            if self.owned.epoch(settlement.shard) == Some(settlement.epoch) {
                again.push(settlement);
                continue;
            }
            self.counters.stale_rows.add(1);
            self.forget(settlement.row, settlement.shard, settlement.size);
            if let Some(key) = settlement.awaited_by {
                self.written(&key, &settlement.outcome);
            }
        }
        self.settle_failed(again);
    }

    fn written(&mut self, key: &OrderingKey, outcome: &Outcome) {
        if let Some(state) = self.keys.get_mut(key) {
            state.writing = state.writing.saturating_sub(1);
            if matches!(
                outcome,
                Outcome::Dead {
                    parked_behind: None,
                    ..
                }
            ) {
                state.burying = state.burying.saturating_sub(1);
            }
        }
        self.refresh(key);
    }

    fn forget(&mut self, row: RowId, shard: ShardId, size: usize) {
        if self.known.remove(&row) {
            self.bytes = self.bytes.saturating_sub(size);
            if let Some(rows) = self.per_shard.get_mut(usize::from(shard)) {
                *rows = rows.saturating_sub(1);
            }
        }
    }

    // Careful shards

    /// The window may be full of messages that wait for one deferred row.
    pub(crate) fn awaits_deferred_row(&self) -> bool {
        self.careful.awaits_row()
    }

    /// The shards that need no more care; asked once. `nothing_left`: all of their rows have been read and settled.
    pub(crate) fn end_care(&mut self, read_to_the_end: bool) -> Option<ShardSet> {
        let nothing_left = read_to_the_end && self.careful.shards.iter().all(|shard| self.has_left(shard));
        self.careful.is_over(nothing_left).then(|| {
            let shards = self.careful.end();
            shards
        })
    }
}

fn describe(error: Option<&PublishError>) -> String {
    let Some(error) = error else { return String::new() };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    // What the table takes; the rest helps nobody.
    if text.len() > 4_000 {
        let end = (0..=4_000)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}
