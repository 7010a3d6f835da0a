use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::message_error::check_text;
use crate::{Limits, MessageError, MessageId, StoreError};

/// Who handles messages: the first half of the inbox's key, beside the id of the message.
///
/// Two consumers with different names both handle a message, each once. Names are compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConsumerName(Box<str>);

impl ConsumerName {
    /// A name of 1 to 255 bytes, without control characters.
    ///
    /// # Errors
    ///
    /// [`MessageError`] that names `consumer` and the limit.
    pub fn new(name: impl Into<Box<str>>) -> Result<Self, MessageError> {
        let name = name.into();
        check_text("consumer", &name, Limits::ATTRIBUTE)?;
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a consumer sees a message for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "effects are allowed for a fresh message only"]
pub enum Admission {
    /// For the first time: apply its effects, in the same transaction.
    Fresh,
    /// Its effects are committed already: acknowledge it and do nothing.
    Duplicate,
    /// Another transaction is handling it right now, and nobody knows yet how that ends: roll back, and hand the message
    /// back to the broker.
    Busy,
}

impl Admission {
    /// What has become of a message that is not to be applied; `None` for a fresh one.
    #[must_use]
    pub const fn processed<T>(self) -> Option<Processed<T>> {
        match self {
            Self::Fresh => None,
            Self::Duplicate => Some(Processed::Duplicate),
            Self::Busy => Some(Processed::Busy),
        }
    }
}

/// What became of a message, and with it of the transaction of its effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "a message that was not applied may have to be handed back"]
pub enum Processed<T = ()> {
    /// Its effects are committed now: acknowledge it.
    Applied(T),
    /// Its effects were committed before: acknowledge it.
    Duplicate,
    /// Nobody here wants it: acknowledge it.
    Skipped,
    /// Another transaction is handling it: hand it back, it is not a failure.
    Busy,
}

impl<T> Processed<T> {
    /// Whether it is to be acknowledged: its effects are committed, now or before, or there are none.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        !matches!(self, Self::Busy)
    }

    /// The same with another value.
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Processed<U> {
        match self {
            Self::Applied(value) => Processed::Applied(to(value)),
            Self::Duplicate => Processed::Duplicate,
            Self::Skipped => Processed::Skipped,
            Self::Busy => Processed::Busy,
        }
    }
}

/// Remembers which messages a consumer has handled, in the transaction of the effects.
///
/// # Contract
///
/// Between an inbox, which is that of one consumer, and its caller:
///
/// * [`Admission::Fresh`] and the consumer's effects commit together or not at all. When the transaction is rolled back,
///   the message is as fresh as before.
/// * The insert decides, never a select before it: of any number of transactions that admit the same message at the same
///   time, at most one that commits was told that it is fresh.
/// * Whoever comes while another transaction is at it is not kept waiting for as long as that takes: within a second or
///   so it is told the outcome, or [`Admission::Busy`]. The bound is the adapter's, and documented there.
/// * It never begins, commits or rolls back, and touches nothing but the inbox table.
///
/// An error leaves the transaction to be rolled back. Where the database says by it that the transaction was unlucky
/// (a serialization failure, a deadlock), a fresh attempt is told the outcome.
///
/// # Cancel safety
///
/// No. Roll the transaction back.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't admit a message through `{Conn}`",
    note = "pass the connection of your open transaction, not a pool: what is not in the transaction of the effects is \
            lost or doubled with the next crash"
)]
pub trait InboxStore<Conn: ?Sized>: Send + Sync {
    /// The ORM's error.
    type Error: Error + Send + Sync + 'static;

    /// Records the message, through the connection that holds the open transaction.
    fn admit(
        &self,
        conn: &mut Conn,
        id: &MessageId,
    ) -> impl Future<Output = Result<Admission, Self::Error>> + Send;

    /// Records many messages, and says of each what [`InboxStore::admit`] would say. One that occurs twice in the list is
    /// a duplicate the second time.
    ///
    /// If one of them is busy, the transaction may still go on with those that are fresh.
    fn admit_all(
        &self,
        conn: &mut Conn,
        ids: &[MessageId],
    ) -> impl Future<Output = Result<Vec<Admission>, Self::Error>> + Send;
}

/// [`InboxStore`] for ORMs that block. The same contract.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't admit a message through `{Conn}`",
    note = "pass the connection of your open transaction, not a pool"
)]
pub trait BlockingInboxStore<Conn: ?Sized>: Send + Sync {
    /// The ORM's error.
    type Error: Error + Send + Sync + 'static;

    /// Records the message, through the connection that holds the open transaction.
    fn admit(&self, conn: &mut Conn, id: &MessageId) -> Result<Admission, Self::Error>;

    /// Records many messages, see [`InboxStore::admit_all`].
    fn admit_all(&self, conn: &mut Conn, ids: &[MessageId]) -> Result<Vec<Admission>, Self::Error>;
}

/// What an inbox needs beside the transactions of the consumers: tries that failed, and an end to what it remembers.
/// Every store of an SQL database has it, on connections of its own.
#[async_trait]
pub trait InboxAdmin: Send + Sync + 'static {
    /// Counts one more try of a message and returns how many there were, this one included. Committed when it returns: a
    /// message that takes the process down with it has been counted.
    ///
    /// `None`, and nothing is counted, if the inbox remembers that this consumer has handled the message.
    async fn count_attempt(&self, consumer: &ConsumerName, id: &MessageId)
    -> Result<Option<u32>, StoreError>;

    /// Takes back the last try that was counted: it was none. Without one it does nothing.
    async fn retract_attempt(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError>;

    /// Forgets the tries of a message: it has succeeded, or was given up and starts anew if it ever comes again.
    async fn forget_attempts(&self, consumer: &ConsumerName, id: &MessageId) -> Result<(), StoreError>;

    /// Forgets messages that were handled, and tries that were counted, longer ago than this: at most `limit` of each,
    /// the oldest first, in transactions of its own. It waits for nobody's transaction, and nobody's admission waits for it,
    /// but for the turn of a single writer. Returns how many of both; less than `limit` means that nothing more is so old,
    /// or that another purge is at it.
    async fn purge_inbox(
        &self,
        consumer: &ConsumerName,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_consumer_has_limits() {
        assert_eq!(ConsumerName::new("billing").unwrap().as_str(), "billing");
        assert!(ConsumerName::new("b".repeat(255)).is_ok());
        for (name, expected) in [
            (String::new(), "consumer is empty"),
            ("b".repeat(256), "consumer has 256 bytes, at most 255 are allowed"),
        ] {
            assert_eq!(ConsumerName::new(name).unwrap_err().to_string(), expected);
        }
        assert_eq!(ConsumerName::new("a\nb").unwrap_err().field(), "consumer");
    }

    #[test]
    fn what_is_done_is_acknowledged() {
        assert!(Processed::Applied(7).is_done() && Processed::<()>::Duplicate.is_done());
        assert!(!Processed::<()>::Busy.is_done());
        assert_eq!(Processed::Applied(7).map(|n| n + 1), Processed::Applied(8));
    }
}
