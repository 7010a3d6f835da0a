//! Rows in: where a message that was read takes its place.

use outbox_core::{HoldState, KeyHold, Lane, OrderingKey, Outcome, StoredMessage};

use super::{Crowded, Queue};
use crate::destination::entry::{Entry, Meta};
use crate::destination::key::{Fetch, Hold, Key, Place};

impl Queue {
    /// Takes keys that do not flow, as they are stored.
    ///
    /// Not those of a shard that was lost while they were read: when it comes back, its key would wait for a message that
    /// another relay has delivered meanwhile, and so for ever.
    pub(crate) fn take_holds(&mut self, holds: Vec<KeyHold>) {
        for KeyHold { key, shard, state } in holds {
            if self.owned.epoch(shard).is_none() {
                continue;
            }
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
        let StoredMessage { row, seq, shard, attempts, held, due_in, message, defect, .. } = stored;
        let size = message.size();
        self.bytes += size;
        if let Some(rows) = self.per_shard.get_mut(usize::from(shard)) {
            *rows += 1;
        }
        let begun = self.careful.is_begun(message.id(), attempts);
        let meta =
            Meta { row, seq, shard, epoch, attempts, unknowns: 0, answers: 0, size, held, begun, defect };
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

    pub(super) fn admit_keyed(&mut self, key: OrderingKey, entry: Entry) {
        let id = *entry.message.id();
        let state = self.keys.entry(key.clone()).or_insert_with(|| Key::new(entry.meta.shard));
        let retrying = entry.meta.row.lane == Lane::Deferred && entry.meta.attempts > 0 && !entry.meta.held;
        match state.hold {
            Hold::Free if retrying => {
                state.hold = Hold::Retrying { head: id, seq: entry.meta.seq };
                state.insert(entry);
            }
            // One hot key must not fill the window and keep all others out: the rest of it waits in the deferred
            // table, where it can be found by key.
            Hold::Free
                if state.queue.len() >= self.policy.window_per_key && entry.meta.row.lane == Lane::Fresh =>
            {
                let behind = state.queue.back().map(|last| *last.message.id());
                state.hold = Hold::Releasing { behind, first: entry.meta.seq };
                state.fetch = Fetch::Wanted;
                self.hold_behind(&key, &entry, behind.unwrap_or(id));
            }
            Hold::Free => {
                state.insert(entry);
                if self.crowded.is_none() && self.policy.is_crowded(state) {
                    self.crowded = Some(Crowded { key: key.clone(), until: None });
                }
                // What `refresh` would find, without looking the key up again.
                if state.take_place() == Place::Sendable {
                    self.sendable.push_back(key);
                }
                return;
            }
            Hold::Retrying { head, .. } if head == id => state.insert(entry),
            Hold::Retrying { head, .. } => self.hold_behind(&key, &entry, head),
            Hold::Releasing { first, .. } if entry.meta.held || entry.meta.seq < first => state.insert(entry),
            Hold::Releasing { behind, .. } => self.hold_behind(&key, &entry, behind.unwrap_or(id)),
            Hold::Parked { behind } => self.park_behind(&key, &entry, behind),
        }
        self.refresh(&key);
    }
}

#[cfg(test)]
mod tests {
    use outbox_core::MessageId;

    use super::*;

    #[test]
    fn what_was_read_of_a_lost_shard_holds_no_key() {
        let mut queue = Queue::for_tests();
        let key = OrderingKey::new("k").unwrap();
        let retrying = || {
            let state = HoldState::Retrying { head: MessageId::new(), seq: 7 };
            vec![KeyHold { key: key.clone(), shard: 1, state }]
        };
        queue.gain(8, 1, 3, false);
        queue.lose(1);
        queue.take_holds(retrying());
        assert!(queue.keys.is_empty(), "{:?}", queue.keys);
        queue.gain(8, 1, 4, false);
        queue.take_holds(retrying());
        assert!(matches!(queue.keys[&key].hold, Hold::Retrying { seq: 7, .. }));
    }
}
