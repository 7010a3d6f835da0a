//! Shards that come and go.

use std::collections::VecDeque;

use outbox_core::{ShardId, ShardSet};
use tokio::time::Instant;

use super::Queue;
use crate::destination::entry::{Entry, Meta};
use crate::destination::key::{Fetch, Hold};

impl Queue {
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
        self.per_shard.get(usize::from(shard)).is_none_or(|rows| *rows == 0)
    }

    pub(super) fn forget_queued(&mut self, shard: ShardId) {
        let mut gone: Vec<Meta> = self.careful.forget(shard).into_iter().map(|entry| entry.meta).collect();
        for key in self.keys.values_mut().filter(|key| key.shard == shard) {
            gone.extend(key.queue.drain(..).map(|entry| entry.meta));
            key.hold = Hold::Free;
            key.fetch = Fetch::No;
            key.paused_until = None;
        }
        self.keys.retain(|_, key| key.shard != shard || !key.is_idle());
        let mut keep = VecDeque::with_capacity(self.unkeyed.len());
        for entry in self.unkeyed.drain(..) {
            if entry.meta.shard == shard { gone.push(entry.meta) } else { keep.push_back(entry) }
        }
        self.unkeyed = keep;
        let (left, stay) = std::mem::take(&mut self.paused_unkeyed)
            .into_iter()
            .partition(|(_, entry)| entry.meta.shard == shard);
        self.paused_unkeyed = stay;
        let left: Vec<(Instant, Entry)> = left;
        gone.extend(left.into_iter().map(|(_, entry)| entry.meta));
        gone.iter().for_each(|meta| self.forget(meta.row, meta.shard, meta.size));
        self.forget_requests(shard);
    }

    /// The window may be full of messages that wait for one deferred row.
    pub(crate) fn awaits_deferred_row(&self) -> bool {
        self.careful.awaits_row()
    }

    /// The shards that need no more care; asked once. `nothing_left`: all of their rows have been read and settled.
    pub(crate) fn end_care(&mut self, read_to_the_end: bool) -> Option<ShardSet> {
        let nothing_left = read_to_the_end && self.careful.shards.iter().all(|shard| self.has_left(shard));
        self.careful.is_over(nothing_left).then(|| self.careful.end())
    }
}
