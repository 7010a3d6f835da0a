use std::error::Error;
use std::fmt;

use crate::BoxError;

/// What went wrong on the consuming side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubscribeErrorKind {
    /// The broker is down or out of reach.
    Unavailable,
    /// There is nothing to read from, or no place for the dead letters: no stream, queue or topic of that name.
    Missing,
    /// The broker refuses: not allowed, a consumer of the same name with other settings.
    Refused,
    /// The delivery is no longer ours: the connection that it came by is gone, its time has run out, or its partition
    /// belongs to somebody else now. It comes again.
    Stale,
    /// The subscription was closed.
    Closed,
}

impl SubscribeErrorKind {
    /// The name, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Stale => "stale",
            Self::Closed => "closed",
        }
    }
}

/// A failed operation of a [`Subscription`](crate::Subscription) or a [`Delivery`](crate::Delivery). Its text never
/// contains credentials or payload.
#[derive(Debug)]
pub struct SubscribeError {
    kind: SubscribeErrorKind,
    message: String,
    source: Option<BoxError>,
}

impl SubscribeError {
    /// An error; the text says what happened and, where it is known, what to do.
    #[must_use]
    pub fn new(kind: SubscribeErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds the client's error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What it means.
    #[must_use]
    pub const fn kind(&self) -> SubscribeErrorKind {
        self.kind
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for SubscribeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
