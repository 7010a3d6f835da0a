use std::fmt;

use uuid::Uuid;

/// The number of a shard, from 0.
pub type ShardId = u8;

/// Counts the owners of a shard: every take-over adds 1. A settle that carries an older epoch changes nothing.
pub type Epoch = i64;

/// One incarnation of a relay. A process that starts again is another relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(Uuid);

impl RelayId {
    /// A fresh id.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that differs every time would surprise")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Some of the shards, and how many there are in all (1 to 64, a power of two).
///
/// The count travels with every request because it is stored in the database and may change while a relay sleeps: a
/// relay learns it together with its leases, never separately.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardSet {
    count: u8,
    mask: u64,
}

impl ShardSet {
    /// The most shards there can be: the set is one 64-bit number, in here and in the claim's `WHERE`.
    pub const MAX: u8 = 64;

    /// No shard of `count`.
    #[must_use]
    pub const fn none(count: u8) -> Self {
        Self { count, mask: 0 }
    }

    /// All of `count` shards.
    #[must_use]
    pub const fn all(count: u8) -> Self {
        Self { count, mask: if count >= 64 { u64::MAX } else { (1 << count) - 1 } }
    }

    /// These shards of `count`.
    #[must_use]
    pub fn of(count: u8, shards: impl IntoIterator<Item = ShardId>) -> Self {
        let mut set = Self::none(count);
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }

    /// How many shards there are in all.
    #[must_use]
    pub const fn count(&self) -> u8 {
        self.count
    }

    /// How many are in the set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.mask.count_ones() as usize
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.mask == 0
    }

    /// Whether all are, so that a store can leave the clause out.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.mask == Self::all(self.count).mask
    }

    /// The set as a bit mask, in the type that databases have.
    #[must_use]
    pub const fn mask(&self) -> i64 {
        self.mask.cast_signed()
    }

    /// Whether the shard is in the set.
    #[must_use]
    pub const fn contains(&self, shard: ShardId) -> bool {
        shard < 64 && self.mask >> shard & 1 == 1
    }

    /// Adds a shard; one beyond the count is not added.
    pub const fn insert(&mut self, shard: ShardId) {
        if shard < self.count && shard < 64 {
            self.mask |= 1 << shard;
        }
    }

    /// Removes a shard.
    pub const fn remove(&mut self, shard: ShardId) {
        if shard < 64 {
            self.mask &= !(1 << shard);
        }
    }

    /// The shards in the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> + use<> {
        let set = *self;
        (0..set.count).filter(move |shard| set.contains(*shard))
    }
}

/// Proof of ownership that goes with every settle: the relay and, for each shard whose rows it settles, the epoch it
/// was leased with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The relay.
    pub relay: RelayId,
    /// Shards and epochs, each shard once.
    pub shards: Vec<(ShardId, Epoch)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_its_shards() {
        let mut set = ShardSet::of(16, [3, 5, 15, 16]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 5, 15]);
        set.remove(5);
        assert_eq!((set.len(), set.contains(5), set.is_all()), (2, false, false));
        assert!(ShardSet::all(64).is_all() && ShardSet::all(64).contains(63));
        assert_eq!(ShardSet::all(64).mask(), -1);
        assert!(ShardSet::all(1).is_all());
    }
}
