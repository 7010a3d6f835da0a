use std::sync::atomic::{AtomicUsize, Ordering};

use outbox_core::CommitHint;

/// Hears the hints of a writer, and counts them.
#[derive(Debug, Default)]
pub struct CountedHints {
    expected: AtomicUsize,
    committed: AtomicUsize,
}

impl CountedHints {
    /// How often something was expected, and how often it was committed.
    pub(crate) fn given(&self) -> (usize, usize) {
        (self.expected.load(Ordering::Relaxed), self.committed.load(Ordering::Relaxed))
    }
}

impl CommitHint for CountedHints {
    fn expected(&self) {
        self.expected.fetch_add(1, Ordering::Relaxed);
    }

    fn committed(&self) {
        self.committed.fetch_add(1, Ordering::Relaxed);
    }
}
