//! The values of labels that are known beforehand.

/// How a message came to the broker, or why it did not: the label `path` of
/// [`PUBLISHED_TOTAL`](super::names::PUBLISHED_TOTAL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Path {
    /// Published at once; the table was never touched.
    Direct,
    /// To be published at once, and stored because the broker was not available. When the relay has published it, it is
    /// counted again as [`Path::Relayed`].
    Fallback,
    /// Published from the table by a relay.
    Relayed,
}

impl Path {
    /// All paths.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Fallback, Self::Relayed];

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fallback => "fallback",
            Self::Relayed => "relayed",
        }
    }
}

/// The topic of all topics beyond the first [`TopicLabels::MOST`](super::TopicLabels::MOST).
pub const OTHER_TOPICS: &str = "other";

/// The source of hints given by [`Waker::wake`](crate::Waker::wake).
pub const IN_PROCESS: &str = "in_process";

/// The source of hints of writers in this process whose transaction is not committed yet
/// ([`CommitHint::expected`](outbox_core::CommitHint::expected)).
pub const EXPECTED: &str = "expected";
