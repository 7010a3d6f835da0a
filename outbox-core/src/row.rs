use std::time::Duration;

use crate::store::DuePosition;
use crate::{MessageError, OutboxMessage, ShardId};

/// The place of a message in the order of its key: the number its row got when it was first inserted. It never
/// changes, whichever table the row moves to.
pub type Seq = i64;

/// The table a row is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lane {
    /// `outbox_messages`: waiting, never tried.
    Fresh,
    /// `outbox_deferred`: waits for a time or for another message.
    Deferred,
    /// `outbox_dead_letters`: given up, kept until an operator decides.
    Dead,
}

/// The primary key of a row: its table and its number there. A row that moves to another table gets another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// The table.
    pub lane: Lane,
    /// The primary key in it. For [`Lane::Fresh`] this is the `seq`.
    pub number: i64,
}

impl RowId {
    /// A row of `outbox_messages`.
    #[must_use]
    pub const fn fresh(number: i64) -> Self {
        Self { lane: Lane::Fresh, number }
    }

    /// A row of `outbox_deferred`.
    #[must_use]
    pub const fn deferred(number: i64) -> Self {
        Self { lane: Lane::Deferred, number }
    }

    /// A row of `outbox_dead_letters`.
    #[must_use]
    pub const fn dead(number: i64) -> Self {
        Self { lane: Lane::Dead, number }
    }
}

/// A message as the relay claims it: with its place, its shard and what has happened to it so far.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Where the row is.
    pub row: RowId,
    /// Its place in the order of its key.
    pub seq: Seq,
    /// The shard that the database computed for it.
    pub shard: ShardId,
    /// Tries so far.
    pub attempts: u16,
    /// Whether the row waits behind another message of its key (`held_behind` is set).
    pub held: bool,
    /// For a fresh row with `available_at`: how long until then by the database's clock; `None` if it is due.
    pub due_in: Option<Duration>,
    /// For a deferred row with a due time: its position in the order of due times.
    pub due_position: Option<DuePosition>,
    /// The message.
    pub message: OutboxMessage,
    /// Why the stored form can't be read as a message. Such a row is never published; it goes to the dead letters.
    pub defect: Option<String>,
}

impl StoredMessage {
    /// A fresh row that is due, as most are.
    #[must_use]
    pub fn fresh(seq: Seq, shard: ShardId, message: OutboxMessage) -> Self {
        Self {
            row: RowId::fresh(seq),
            seq,
            shard,
            attempts: 0,
            held: false,
            due_in: None,
            due_position: None,
            message,
            defect: None,
        }
    }

    /// Marks the row as unreadable.
    #[must_use]
    pub fn with_defect(mut self, error: &MessageError) -> Self {
        self.defect = Some(error.to_string());
        self
    }
}
