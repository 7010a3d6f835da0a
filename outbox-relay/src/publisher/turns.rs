//! Whose turn it is: of each key one call at a time, and none past what the outbox still has of it.

use std::hash::{BuildHasher, RandomState};

use outbox_core::{OrderingKey, OutboxMessage};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// A fixed number, so that memory does not grow with the number of keys. Two keys that share a place take turns, too.
const PLACES: usize = 4096;
/// Held keys of a place by name; beyond that all of its keys are held.
const NAMED: usize = 64;

#[derive(Debug)]
pub(super) struct Turns {
    places: Box<[Mutex<Place>]>,
    hasher: RandomState,
}

/// A place and its number, taken.
pub(super) type Turn<'a> = (usize, MutexGuard<'a, Place>);

/// The keys that have the same place.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Keys that have messages in the outbox, as far as this publisher knows.
    held: Vec<OrderingKey>,
    /// Other keys of this place may have some, too.
    others: Others,
    /// Keys here are not asked about before this time.
    pub(super) not_before: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Others {
    /// Nobody has looked yet what an earlier process has left.
    #[default]
    NotLooked,
    /// There were too many keys to remember.
    Held,
    Free,
}

impl Turns {
    pub(super) fn new() -> Self {
        let places = (0..PLACES).map(|_| Mutex::default()).collect();
        Self { places, hasher: RandomState::new() }
    }

    pub(super) fn place_of(&self, key: &OrderingKey) -> usize {
        // The remainder is less than `PLACES`.
        usize::try_from(self.hasher.hash_one(key) % PLACES as u64).unwrap_or_default()
    }

    /// Waits until no other call is about one of these keys.
    pub(super) async fn take<'a>(&self, messages: impl Iterator<Item = &'a OutboxMessage>) -> Vec<Turn<'_>> {
        let mut wanted: Vec<usize> =
            messages.filter_map(OutboxMessage::ordering_key).map(|key| self.place_of(key)).collect();
        // In one order for everybody: two calls can't wait for each other.
        wanted.sort_unstable();
        wanted.dedup();
        let mut turns = Vec::with_capacity(wanted.len());
        for place in wanted {
            turns.push((place, self.places[place].lock().await));
        }
        turns
    }

    /// The place of a key, among those that were taken.
    pub(super) fn of<'a>(&self, key: &OrderingKey, taken: &'a mut [Turn<'_>]) -> Option<&'a mut Place> {
        let found = taken.binary_search_by_key(&self.place_of(key), |(number, _)| *number).ok()?;
        Some(&mut taken[found].1)
    }
}

impl Place {
    /// Whether the outbox may have messages of the key.
    pub(super) fn holds(&self, key: &OrderingKey) -> bool {
        self.others != Others::Free || self.held.contains(key)
    }

    pub(super) fn others(&self) -> Others {
        self.others
    }

    pub(super) fn hold(&mut self, key: &OrderingKey) {
        if self.held.contains(key) {
            return;
        }
        if self.held.len() < NAMED {
            self.held.push(key.clone());
        } else {
            self.held.clear();
            self.others = Others::Held;
        }
    }

    /// The outbox has nothing of this key.
    pub(super) fn release(&mut self, key: &OrderingKey) {
        self.held.retain(|held| held != key);
    }

    /// The outbox has nothing of any key of this place but those that are held by name.
    pub(super) fn others_are_free(&mut self) {
        self.others = Others::Free;
    }

    /// And these are all that are held by name.
    pub(super) fn hold_only<'a>(&mut self, keys: impl Iterator<Item = &'a OrderingKey>) {
        self.held.clear();
        keys.for_each(|key| self.hold(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> OrderingKey {
        OrderingKey::new(format!("k{number}")).unwrap()
    }

    #[test]
    fn a_place_that_has_too_many_keys_to_name_holds_all_of_them() {
        let mut place = Place::default();
        assert!(place.holds(&key(0)), "nobody has looked");
        place.others_are_free();
        assert!(!place.holds(&key(0)));
        (0..NAMED).for_each(|number| place.hold(&key(number)));
        place.hold(&key(0));
        assert!(place.holds(&key(0)) && !place.holds(&key(NAMED)));
        place.release(&key(0));
        assert!(!place.holds(&key(0)));
        place.hold(&key(0));
        place.hold(&key(NAMED));
        place.release(&key(NAMED));
        assert!(place.holds(&key(NAMED)) && place.holds(&key(7)) && place.holds(&key(1000)));
    }

    #[tokio::test]
    async fn the_same_keys_in_another_order_are_no_deadlock() {
        let messages: Vec<_> = (0..50)
            .map(|n| OutboxMessage::bytes("t", "x").unwrap().ordering_key(format!("k{n}")).build().unwrap())
            .collect();
        let turns = Turns::new();
        let calls = (0..100).map(async |call| {
            let (turns, messages) = (&turns, &messages);
            let taken = if call % 2 == 0 {
                turns.take(messages.iter()).await
            } else {
                turns.take(messages.iter().rev()).await
            };
            tokio::task::yield_now().await;
            taken.len()
        });
        let taken = futures_util::future::join_all(calls).await;
        assert!(taken.iter().all(|places| *places == taken[0] && *places <= 50));
    }
}
