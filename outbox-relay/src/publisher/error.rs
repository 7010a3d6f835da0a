use std::sync::Arc;

use outbox_core::{MessageError, PublishError};

use super::SinkError;

/// Why a message was neither published nor stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublisherError {
    /// The event can't be encoded, or is out of its limits. Nothing was tried.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The broker refuses this message: another try would end the same. It is not stored.
    #[error("the broker refuses the message: {0}")]
    Rejected(#[source] PublishError),
    /// The broker did not confirm it, and without an outbox there is nowhere else to put it. Its kind says what is known
    /// of the message; with [`PublishErrorKind::Unknown`](outbox_core::PublishErrorKind::Unknown) the broker may have it.
    #[error("not published: {0}")]
    NotPublished(#[source] PublishError),
    /// A delay needs an outbox, and there is none. Nothing was tried.
    #[error("the message is delayed, which needs an outbox, and the mode is direct")]
    Delayed,
    /// It could not be stored. If the answer of the database was lost, it may be stored all the same.
    #[error("not stored: {store}")]
    NotStored {
        /// Why; one for all messages that were to be stored together.
        store: Arc<SinkError>,
        /// Why it was not published, if that was tried.
        broker: Option<PublishError>,
    },
    /// The runtime is shutting down, and nobody knows what became of the message.
    #[error("the runtime is shutting down")]
    Stopped,
}

impl PublisherError {
    /// Whether the broker refuses this message, so that another try would end the same.
    #[must_use]
    pub const fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }
}
