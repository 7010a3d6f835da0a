use outbox_core::{Epoch, ShardId, ShardSet};

/// The shards this destination works on, and the epochs they were leased with.
#[derive(Debug, Clone)]
pub(crate) struct Owned {
    epochs: [Option<Epoch>; 64],
    count: u8,
}

impl Owned {
    pub(crate) fn none() -> Self {
        Self { epochs: [None; 64], count: 1 }
    }

    pub(crate) fn set_count(&mut self, count: u8) {
        self.count = count;
    }

    pub(crate) fn insert(&mut self, shard: ShardId, epoch: Epoch) {
        if let Some(slot) = self.epochs.get_mut(usize::from(shard)) {
            *slot = Some(epoch);
        }
    }

    pub(crate) fn remove(&mut self, shard: ShardId) {
        if let Some(slot) = self.epochs.get_mut(usize::from(shard)) {
            *slot = None;
        }
    }

    pub(crate) fn epoch(&self, shard: ShardId) -> Option<Epoch> {
        self.epochs.get(usize::from(shard)).copied().flatten()
    }

    pub(crate) fn shards(&self) -> ShardSet {
        ShardSet::of(self.count, (0..64).filter(|shard| self.epoch(*shard).is_some()))
    }
}
