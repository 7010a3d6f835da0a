//! Batches out: what is sent next.

use outbox_core::{DeadReason, OrderingKey, Outcome};

use super::Queue;
use crate::decide::Attempt;
use crate::destination::entry::{Batch, Entry};
use crate::destination::key::Hold;
use crate::policy::OnDead;

impl Queue {
    /// The next messages to send, at most `most`. With order, a key has one message under way, or one run of them
    /// where the transport promises pipelined order.
    pub(crate) fn next_batch(&mut self, most: usize) -> Batch {
        let mut batch = Batch::for_messages(most.min(self.sendable.len() + self.unkeyed.len()));
        // Keyed and unkeyed messages share the batch, so that neither starves the other. They take turns where one is all
        // of it.
        let share = match (self.unkeyed.is_empty(), most) {
            (true, _) => most,
            (false, 1) => {
                self.unkeyed_had_turn = !self.unkeyed_had_turn;
                usize::from(!self.unkeyed_had_turn)
            }
            (false, _) => most.div_ceil(2),
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

    pub(super) fn take_from_key(&mut self, key: &OrderingKey, share: usize, batch: &mut Batch) {
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
        let longest = if self.policy.pipelined_order { share - batch.len() } else { 1 };
        #[cfg(outbox_sabotage)]
        let longest = if outbox_core::sabotage::is("many-of-a-key") { share - batch.len() } else { longest };
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

    pub(super) fn take_unkeyed(&mut self, entry: Entry, batch: &mut Batch) {
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

    pub(super) fn take_carefully(&mut self, key: &OrderingKey, batch: &mut Batch) {
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
    pub(super) fn begin(&mut self, entry: Entry) {
        let id = *entry.message.id();
        let key = entry.message.ordering_key().cloned();
        let allowed = entry.message.max_attempts().unwrap_or(self.policy.retry.max_attempts);
        if entry.meta.attempts >= allowed {
            let attempts = entry.meta.attempts;
            let park =
                key.is_some() && self.policy.on_dead.of(entry.message.topic().as_str()) != OnDead::Skip;
            self.bury(entry, attempts, DeadReason::CrashedRelay, None, park.then_some(id));
            return;
        }
        let attempts = entry.meta.attempts.saturating_add(1);
        self.careful.begin(entry.meta.shard, id, attempts);
        self.settle(&entry.meta, Outcome::Begin { attempts }, key.clone());
        if let Some(key) = key {
            self.hold_key(&key, Hold::Retrying { head: id, seq: entry.meta.seq });
        }
    }
}
