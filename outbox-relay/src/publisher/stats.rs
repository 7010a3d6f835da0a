use std::sync::atomic::{AtomicU64, Ordering};

use super::{PublishPath, PublisherError};

/// What became of the messages that a publisher was given. The five add up to all of those whose calls have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PublisherStats {
    /// [`PublishPath::Direct`].
    pub direct: u64,
    /// [`PublishPath::Fallback`].
    pub fallback: u64,
    /// [`PublishPath::Stored`].
    pub stored: u64,
    /// [`PublisherError::Rejected`].
    pub rejected: u64,
    /// Every other [`PublisherError`].
    pub failed: u64,
}

impl PublisherStats {
    /// All messages.
    #[must_use]
    pub const fn all(&self) -> u64 {
        self.direct + self.fallback + self.stored + self.rejected + self.failed
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    direct: AtomicU64,
    fallback: AtomicU64,
    stored: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, result: &Result<PublishPath, PublisherError>) {
        let counter = match result {
            Ok(PublishPath::Direct) => &self.direct,
            Ok(PublishPath::Fallback) => &self.fallback,
            Ok(PublishPath::Stored) => &self.stored,
            Err(PublisherError::Rejected(_)) => &self.rejected,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> PublisherStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PublisherStats {
            direct: read(&self.direct),
            fallback: read(&self.fallback),
            stored: read(&self.stored),
            rejected: read(&self.rejected),
            failed: read(&self.failed),
        }
    }
}
