use std::error::Error;

use crate::MessageId;

/// Whether a consumer sees a message for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admission {
    /// For the first time: apply its effects, in the same transaction.
    Fresh,
    /// Its effects are committed already: acknowledge it and do nothing.
    Duplicate,
}

/// Remembers which messages a consumer has handled, in the transaction of the effects.
///
/// # Contract
///
/// [`Admission::Fresh`] and the consumer's effects commit together or not at all. The insert decides, never a prior
/// select; an error leaves the transaction to be rolled back.
pub trait InboxStore<Conn: ?Sized>: Send + Sync {
    /// The ORM's error.
    type Error: Error + Send + Sync + 'static;

    /// Records the message for this consumer, through the connection that holds the open transaction.
    fn admit(
        &self,
        conn: &mut Conn,
        consumer: &str,
        id: &MessageId,
    ) -> impl Future<Output = Result<Admission, Self::Error>> + Send;
}
