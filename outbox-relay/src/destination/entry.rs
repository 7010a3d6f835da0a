use outbox_core::{Epoch, OrderingKey, OutboxMessage, Outcome, PublishError, RowId, Seq, ShardId};

/// A row in memory, apart from its message.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    pub(crate) row: RowId,
    pub(crate) seq: Seq,
    pub(crate) shard: ShardId,
    /// The epoch under which it was read; what it is settled with, even if the shard has changed hands since.
    pub(crate) epoch: Epoch,
    /// Tries that ended, or, if `begun`, that ended or began.
    pub(crate) attempts: u16,
    /// Unknown outcomes, not counting those while the destination answered nobody.
    pub(crate) unknowns: u16,
    /// The destination's answers at the last unknown outcome.
    pub(crate) answers: u64,
    /// Bytes that count against the window.
    pub(crate) size: usize,
    /// The row waits behind another in the deferred table.
    pub(crate) held: bool,
    /// The try that comes next is already counted in `attempts`.
    pub(crate) begun: bool,
    pub(crate) defect: Option<String>,
}

impl Meta {
    pub(crate) fn settlement(&self, outcome: Outcome, awaited_by: Option<OrderingKey>) -> Settlement {
        let Self { row, shard, epoch, size, .. } = *self;
        Settlement { row, shard, epoch, outcome, awaited_by, size }
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) meta: Meta,
    pub(crate) message: OutboxMessage,
}

/// Messages on their way to the transport. The messages stand together, so that the transport gets them as one slice
/// without a copy.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) metas: Vec<Meta>,
    pub(crate) messages: Vec<OutboxMessage>,
    /// How often the breaker had opened when they were sent.
    pub(crate) openings: u64,
}

impl Batch {
    /// With room for so many.
    pub(crate) fn for_messages(messages: usize) -> Self {
        Self { metas: Vec::with_capacity(messages), messages: Vec::with_capacity(messages), openings: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.metas.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.metas.is_empty()
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.metas.push(entry.meta);
        self.messages.push(entry.message);
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.metas.into_iter().zip(self.messages).map(|(meta, message)| Entry { meta, message })
    }
}

/// What a transport said, one result per message of the batch.
pub(crate) type Results = Vec<Result<(), PublishError>>;

impl Settlement {
    /// Whether an operator has asked for it.
    pub(crate) fn is_requested(&self) -> bool {
        matches!(self.outcome, Outcome::Replay | Outcome::Discard)
    }
}

/// A decision on its way to the database.
#[derive(Debug, Clone)]
pub(crate) struct Settlement {
    pub(crate) row: RowId,
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) outcome: Outcome,
    /// The key of which nothing may be fetched before this is written.
    pub(crate) awaited_by: Option<OrderingKey>,
    /// Bytes given back when it is forgotten.
    pub(crate) size: usize,
}
