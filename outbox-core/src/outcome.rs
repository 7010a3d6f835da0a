use std::fmt;
use std::time::Duration;

use crate::MessageId;

/// What the relay decided about one row. A store carries out a whole batch of them in one transaction, each kind in
/// one statement.
///
/// All values are absolute, so that a settle whose commit was cut off can be repeated.
///
/// There is no outcome for a message that was *not* tried (broker unavailable, shutting down): its row stays as it is,
/// and nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The broker confirmed it: the row is deleted.
    Delivered,
    /// It failed and is tried again: the row waits in `outbox_deferred`. With an ordering key it holds its key.
    Retry {
        /// Tries so far, this one included.
        attempts: u16,
        /// From now, by the database's clock.
        after: Duration,
        /// What the broker said.
        error: String,
    },
    /// A try is about to begin that may kill the process: it is counted before it is made. The row is in
    /// `outbox_deferred` afterwards, due at once.
    Begin {
        /// Tries so far, the one that begins included.
        attempts: u16,
    },
    /// It waits in `outbox_deferred` behind a retrying message of its key, without a due time of its own.
    Hold {
        /// The message it waits for.
        behind: MessageId,
    },
    /// Its `available_at` is in the future: it waits in `outbox_deferred` until then. No attempt is used.
    Delay,
    /// It will not be tried again: the row moves to `outbox_dead_letters`.
    Dead {
        /// Tries so far.
        attempts: u16,
        /// Why.
        reason: DeadReason,
        /// What the broker said, if it was asked.
        error: Option<String>,
        /// Set if its key is parked: the message that the key stopped at (for that one itself, its own id).
        parked_behind: Option<MessageId>,
    },
    /// An operator wants it delivered after all: the dead row moves to `outbox_deferred` with its original `seq` and no
    /// attempts, due at once; a parked one takes its whole key along, held until all of that is delivered. A deferred
    /// row (a blocked head) becomes due at once.
    Replay,
    /// An operator gives it up: the row is deleted. If a key is parked behind it, the rest of the key moves to
    /// `outbox_deferred` as in [`Outcome::Replay`].
    Discard,
}

/// Why a message is in the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// The broker refused this message; trying again can't help.
    Rejected,
    /// It failed as often as allowed.
    AttemptsExhausted,
    /// The stored row is no valid message.
    Undecodable,
    /// The process died each time it was tried.
    CrashedRelay,
    /// It is well, but the messages before it in its key are parked.
    ParkedBehind,
}

impl DeadReason {
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Rejected, Self::AttemptsExhausted, Self::Undecodable, Self::CrashedRelay, Self::ParkedBehind];

    /// The stored form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::AttemptsExhausted => "attempts exhausted",
            Self::Undecodable => "undecodable",
            Self::CrashedRelay => "crashed the relay",
            Self::ParkedBehind => "parked behind another",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
