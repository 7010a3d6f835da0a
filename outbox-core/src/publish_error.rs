use std::error::Error;
use std::fmt;

use crate::BoxError;

/// What a failed publish means for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The broker is down or out of reach; the message was not handed over. It uses no attempt, and the destination's
    /// circuit breaker opens.
    Unavailable,
    /// Nobody knows whether the broker has it: a time-out, a connection cut while waiting. The client is reset, the
    /// key waits, and no attempt is used up to a cap.
    Unknown,
    /// The broker has it not, and a later try may succeed: missing topology, a full queue, a quota. It uses an attempt.
    Retryable,
    /// The broker refuses this message: too large, unroutable, not allowed. It goes to the dead letters at once.
    Rejected,
}

impl PublishErrorKind {
    /// The name, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Retryable => "retryable",
            Self::Rejected => "rejected",
        }
    }
}

/// A failed publish. Its text never contains credentials or payload.
#[derive(Debug)]
pub struct PublishError {
    kind: PublishErrorKind,
    message: String,
    source: Option<BoxError>,
}

impl PublishError {
    /// An error; the text says what happened and, where it is known, what to do.
    #[must_use]
    pub fn new(kind: PublishErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// [`PublishErrorKind::Unavailable`].
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(PublishErrorKind::Unavailable, message)
    }

    /// [`PublishErrorKind::Unknown`].
    #[must_use]
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(PublishErrorKind::Unknown, message)
    }

    /// [`PublishErrorKind::Retryable`].
    #[must_use]
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::new(PublishErrorKind::Retryable, message)
    }

    /// [`PublishErrorKind::Rejected`].
    #[must_use]
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(PublishErrorKind::Rejected, message)
    }

    /// Adds the client's error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What it means for the message.
    #[must_use]
    pub const fn kind(&self) -> PublishErrorKind {
        self.kind
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
