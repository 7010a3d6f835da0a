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
    /// Decisions that must be written before what waits of this key can be fetched: moves to the deferred table, and
    /// the end of the message that held it.
    pub(crate) writing: usize,
    /// Messages of it that are given up while the rest goes on, and are not yet in the dead letters. The rest waits for
    /// that: a successor that finds them undecided would deliver them after it.
    pub(crate) burying: usize,
    /// Counts the moves begun, so that a fetch knows whether one began after it.
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
    /// They wait until those in the deferred table are in memory, of which the first has this place. Fresh ones before
    /// that place go first.
    Releasing { behind: Option<MessageId>, first: Seq },
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

/// The list that a key belongs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Of those that can send.
    Sendable,
    /// Of those of which something is to be fetched.
    Fetchable,
    /// None: there is nothing to remember about it.
    Forgotten,
    /// Where it is.
    Same,
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
            writing: 0,
            burying: 0,
            moves: 0,
            fetch: Fetch::No,
        }
    }

    /// Puts a message in its place. Nearly always that is the end.
    pub(crate) fn insert(&mut self, entry: Entry) {
        let seq = entry.meta.seq;
        #[cfg(outbox_sabotage)]
        if outbox_core::sabotage::is("unsorted-rows") {
            self.queue.push_back(entry);
            return;
        }
        if self.queue.back().is_none_or(|last| last.meta.seq <= seq) {
            self.queue.push_back(entry);
        } else {
            let place = self.queue.partition_point(|queued| queued.meta.seq <= seq);
            self.queue.insert(place, entry);
        }
    }

    /// The transport has said what became of one of its messages.
    pub(crate) fn came_back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(crate) fn can_send(&self) -> bool {
        self.in_flight == 0 && self.burying == 0 && self.paused_until.is_none() && !self.queue.is_empty()
    }

    /// Where the key is to be put now.
    pub(crate) fn take_place(&mut self) -> Place {
        if self.can_send() && !self.listed {
            self.listed = true;
            Place::Sendable
        } else if self.can_fetch() {
            Place::Fetchable
        } else if self.is_idle() && !self.listed {
            Place::Forgotten
        } else {
            Place::Same
        }
    }

    pub(crate) fn can_fetch(&self) -> bool {
        self.fetch == Fetch::Wanted && self.in_flight == 0 && self.writing == 0 && self.queue.is_empty()
    }

    /// Whether all that there is to remember about it is that it does not flow, and the table says so, too.
    pub(crate) fn is_only_held(&self) -> bool {
        matches!(self.hold, Hold::Retrying { .. } | Hold::Parked { .. })
            && self.queue.is_empty()
            && self.in_flight == 0
            && self.writing == 0
            && self.fetch == Fetch::No
            && !self.listed
    }

    /// Whether there is nothing to remember about it.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.in_flight == 0
            && self.writing == 0
            && self.hold == Hold::Free
            && self.fetch == Fetch::No
    }
}
