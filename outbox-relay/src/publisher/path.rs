use crate::metrics;

/// The way a message took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishPath {
    /// The broker has confirmed it; the table was never touched.
    Direct,
    /// It was to be published at once and is in the outbox instead: the broker was not available, did not answer, could
    /// not take it now, or earlier messages of its key are still in the outbox.
    Fallback,
    /// It is in the outbox, and was never to be published at once: because of the mode, or because it is delayed.
    Stored,
}

impl PublishPath {
    /// As the metric calls it; what is only stored is counted when the relay has published it.
    pub(super) const fn counted_as(self) -> Option<metrics::Path> {
        match self {
            Self::Direct => Some(metrics::Path::Direct),
            Self::Fallback => Some(metrics::Path::Fallback),
            Self::Stored => None,
        }
    }
}
