//! Keys that stop, wait and go on.

use std::cmp::Reverse;
use std::collections::hash_map;

use outbox_core::{DeadReason, MessageId, OrderingKey, Outcome};
use tokio::time::Instant;

use super::Queue;
use crate::destination::entry::Entry;
use crate::destination::key::{Fetch, Hold, Key, Place};

impl Queue {
    /// A message is out of the way. If its key was held by it, those behind it can come, once its end is written: until
    /// then the table still says that it is retrying.
    pub(super) fn settle_head(&mut self, entry: &Entry, key: Option<OrderingKey>, outcome: Outcome) {
        let Some(key) = key else {
            self.settle(&entry.meta, outcome, None);
            return;
        };
        // Nearly all messages end here: their key is looked up once.
        let hash_map::Entry::Occupied(mut known) = self.keys.entry(key) else {
            self.settle(&entry.meta, outcome, None);
            return;
        };
        let id = *entry.message.id();
        let state = known.get_mut();
        if outcome == Outcome::Delivered {
            state.came_back();
        }
        let buries = matches!(outcome, Outcome::Dead { .. });
        state.burying += usize::from(buries);
        let mut awaited = buries;
        if let Hold::Retrying { head, seq } = state.hold
            && head == id
        {
            state.hold = Hold::Releasing { behind: Some(id), first: seq };
            state.fetch = Fetch::Wanted;
            awaited = true;
        }
        state.writing += usize::from(awaited);
        let place = state.take_place();
        let awaited_by = awaited.then(|| known.key().clone());
        match place {
            Place::Sendable => self.sendable.push_back(known.key().clone()),
            Place::Fetchable => self.fetchable.push_back(known.key().clone()),
            Place::Forgotten => drop(known.remove()),
            Place::Same => {}
        }
        self.settlements.push(entry.meta.settlement(outcome, awaited_by));
    }

    /// Stops a key; what is queued of it goes where the held ones go.
    pub(super) fn hold_key(&mut self, key: &OrderingKey, hold: Hold) {
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        state.hold = hold;
        state.paused_until = None;
        // Of a parked key also those that wait in the deferred table must follow.
        state.fetch = if matches!(hold, Hold::Parked { .. }) { Fetch::Wanted } else { Fetch::No };
        for entry in std::mem::take(&mut state.queue) {
            match hold {
                Hold::Parked { behind } => self.park_behind(key, &entry, behind),
                Hold::Retrying { head, .. } => self.hold_behind(key, &entry, head),
                Hold::Free | Hold::Releasing { .. } => {}
            }
        }
        self.refresh(key);
    }

    /// At least so many keys are in memory of which no message is.
    pub(crate) fn keys_without_rows(&self) -> usize {
        self.keys.len().saturating_sub(self.known.len())
    }

    /// Forgets the keys that do not flow. From here on they are to be looked up with the rows that are read.
    pub(crate) fn forget_holds(&mut self) {
        self.keys.retain(|_, key| !key.is_only_held());
    }

    pub(super) fn hold_behind(&mut self, key: &OrderingKey, entry: &Entry, behind: MessageId) {
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

    pub(super) fn park_behind(&mut self, key: &OrderingKey, entry: &Entry, behind: MessageId) {
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
    pub(super) fn put_back(&mut self, entry: Entry, not_before: Option<Instant>) {
        if self.owned.epoch(entry.meta.shard) != Some(entry.meta.epoch) {
            self.forget(entry.meta.row, entry.meta.shard, entry.meta.size);
            return;
        }
        if entry.meta.begun {
            // It stays the one under way: its try is counted, it is in memory, and it is sent next.
            self.careful.sent(entry.meta.shard, *entry.message.id());
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
        let state = self.keys.entry(key.clone()).or_insert_with(|| Key::new(entry.meta.shard));
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
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.paused_unkeyed).into_iter().partition(|(time, _)| *time <= now);
        self.paused_unkeyed = later;
        self.unkeyed.extend(due.into_iter().map(|(_, entry)| entry));
    }

    pub(crate) fn next_resume(&self) -> Option<Instant> {
        let keyed = self.paused_keys.peek().map(|Reverse((time, _))| *time);
        let unkeyed = self.paused_unkeyed.iter().map(|(time, _)| *time).min();
        keyed.into_iter().chain(unkeyed).min()
    }

    /// Lists a key where it belongs, or forgets it if there is nothing to remember.
    pub(super) fn refresh(&mut self, key: &OrderingKey) {
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        match state.take_place() {
            Place::Sendable => self.sendable.push_back(key.clone()),
            Place::Fetchable => self.fetchable.push_back(key.clone()),
            Place::Forgotten => drop(self.keys.remove(key)),
            Place::Same => {}
        }
    }

    pub(super) fn relist_careful(&mut self) {
        let (keys, entries) = self.careful.next();
        self.unkeyed.extend(entries);
        keys.iter().for_each(|key| self.refresh(key));
    }
}
