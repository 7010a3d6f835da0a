use outbox_core::{MessageId, OrderingKey, ShardId, ShardSet};

use super::entry::Entry;

/// How messages are sent from shards whose owners keep vanishing: one at a time, each try counted in the database
/// before it is made, until whatever was in flight when the owners vanished has been tried.
///
/// Attempts are otherwise written after the fact, so a message that kills the process would be tried for ever.
#[derive(Debug)]
pub(crate) struct Careful {
    pub(crate) shards: ShardSet,
    /// Messages still to be sent this way. The culprit was in the window of the owner that vanished, so one window is
    /// enough.
    remaining: usize,
    under_way: Option<(ShardId, UnderWay)>,
    waiting_keys: Vec<OrderingKey>,
    waiting: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnderWay {
    /// Its try is being counted, or is counted and the row is to be read again.
    Begun {
        id: MessageId,
        attempts: u16,
    },
    Sent {
        id: MessageId,
    },
}

/// From this number of unclean take-overs in a row on. The first one is most likely a crash of something else.
pub(crate) const UNCLEAN_TAKEOVERS: u32 = 2;

impl Careful {
    pub(crate) fn off() -> Self {
        Self {
            shards: ShardSet::none(64),
            remaining: 0,
            under_way: None,
            waiting_keys: Vec::new(),
            waiting: Vec::new(),
        }
    }

    pub(crate) fn include(&mut self, shard: ShardId, window: usize) {
        self.shards.insert(shard);
        self.remaining = window;
    }

    pub(crate) fn applies_to(&self, shard: ShardId) -> bool {
        self.shards.contains(shard)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// A try is counted, and its row has to be read again before anything else of these shards can go on.
    pub(crate) fn awaits_row(&self) -> bool {
        matches!(self.under_way, Some((_, UnderWay::Begun { .. })))
    }

    pub(crate) fn begin(&mut self, shard: ShardId, id: MessageId, attempts: u16) {
        self.under_way = Some((shard, UnderWay::Begun { id, attempts }));
    }

    pub(crate) fn is_begun(&self, id: &MessageId, attempts: u16) -> bool {
        matches!(self.under_way, Some((_, begun)) if begun == UnderWay::Begun { id: *id, attempts })
    }

    pub(crate) fn sent(&mut self, shard: ShardId, id: MessageId) {
        self.under_way = Some((shard, UnderWay::Sent { id }));
    }

    pub(crate) fn finished(&mut self, id: &MessageId) {
        let same = |under_way: &UnderWay| match under_way {
            UnderWay::Sent { id: known } | UnderWay::Begun { id: known, .. } => known == id,
        };
        if self.under_way.as_ref().is_some_and(|(_, under_way)| same(under_way)) {
            self.under_way = None;
            self.remaining = self.remaining.saturating_sub(1);
        }
    }

    pub(crate) fn wait_key(&mut self, key: OrderingKey) {
        self.waiting_keys.push(key);
    }

    pub(crate) fn wait(&mut self, entry: Entry) {
        self.waiting.push(entry);
    }

    /// Those that may go on, if nothing is under way.
    pub(crate) fn next(&mut self) -> (Vec<OrderingKey>, Vec<Entry>) {
        if self.is_busy() {
            return (Vec::new(), Vec::new());
        }
        (std::mem::take(&mut self.waiting_keys), std::mem::take(&mut self.waiting))
    }

    /// Whether whatever may have killed the former owners has been tried.
    pub(crate) fn is_over(&self, nothing_left: bool) -> bool {
        !self.shards.is_empty() && !self.is_busy() && (self.remaining == 0 || nothing_left)
    }

    /// Forgets a shard that is not owned any more.
    pub(crate) fn forget(&mut self, shard: ShardId) -> Vec<Entry> {
        self.shards.remove(shard);
        let (gone, kept) = std::mem::take(&mut self.waiting).into_iter().partition(|e| e.meta.shard == shard);
        self.waiting = kept;
        if self.under_way.is_some_and(|(of, _)| of == shard) {
            self.under_way = None;
        }
        gone
    }

    pub(crate) fn end(&mut self) -> ShardSet {
        std::mem::replace(&mut self.shards, ShardSet::none(64))
    }
}
