use std::collections::VecDeque;

use outbox_core::{MessageId, Seq, ShardId};
use tokio::time::Instant;

use super::entry::Entry;

/// The state of one ordering key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) shard: ShardId,
    /// What can be sent next, by `seq`.
    pub(crate) queue: VecDeque<Entry>,
    /// Messages of it that are with the transport.
    pub(crate) in_flight: usize,
    pub(crate) hold: Hold,
    /// Nothing is sent before this time: the last outcome was unknown.
    pub(crate) paused_until: Option<Instant>,
    /// Whether it stands in the list of keys that can send.
    pub(crate) listed: bool,
    /// Messages that are being moved behind a held one, and are not yet there.
    pub(crate) moving: usize,
    /// Counts the moves begun, so that a scan knows whether one began after it.
    pub(crate) moves: u64,
    /// The deferred table may have messages of this key that wait behind another and must be fetched.
    pub(crate) fetch: Fetch,
}

/// Whether new messages of a key may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// They may.
    Free,
    /// They wait behind this one, which waits for its next try.
    Retrying { head: MessageId, seq: Seq },
    /// They wait until those that waited before them are in memory.
    Releasing { behind: Option<MessageId> },
    /// They follow this one into the dead letters.
    Parked { behind: MessageId },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// Nothing to fetch.
    No,
    /// To be fetched as soon as nothing of the key is on its way.
    Wanted,
    /// Being fetched; the number is `moves` at the start.
    Running { moves: u64 },
}

impl Key {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            queue: VecDeque::new(),
            in_flight: 0,
            hold: Hold::Free,
            paused_until: None,
            listed: false,
            moving: 0,
            moves: 0,
            fetch: Fetch::No,
        }
    }

    /// Puts a message in its place. Nearly always that is the end.
    pub(crate) fn insert(&mut self, entry: Entry) {
        let seq = entry.meta.seq;
        if self.queue.back().is_none_or(|last| last.meta.seq <= seq) {
            self.queue.push_back(entry);
        } else {
            let place = self.queue.partition_point(|queued| queued.meta.seq <= seq);
            self.queue.insert(place, entry);
        }
    }

    pub(crate) fn can_send(&self) -> bool {
        self.in_flight == 0 && self.paused_until.is_none() && !self.queue.is_empty()
    }

    pub(crate) fn can_fetch(&self) -> bool {
        self.fetch == Fetch::Wanted && self.in_flight == 0 && self.moving == 0 && self.queue.is_empty()
    }

    /// Whether there is nothing to remember about it.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.in_flight == 0
            && self.moving == 0
            && self.hold == Hold::Free
            && self.fetch == Fetch::No
    }
}
