use std::fmt;
use std::sync::Arc;

/// Whoever wants to hear of commits before the table is looked at: the relay's waker, or what sends a notification to
/// another process.
///
/// # Contract
///
/// Between a writer and whoever it was given. Both calls are hints: a lost one costs a poll interval, never a message.
///
/// * They are made at any rate, from any thread, and in the way of the caller's transaction: they must not block, wait
///   or fail.
/// * [`CommitHint::expected`] comes once per call of a writer that wrote messages, when the database has taken them and
///   nothing is committed yet. A writer that works on the caller's own transaction never learns of its end. So a relay
///   that hears this looks after 1, 2, 4 … ms, until it finds something or its usual interval is reached. After a
///   rollback these looks find nothing, and that is all that it costs.
/// * [`CommitHint::committed`] comes after the commit of a transaction that the writer itself ended: there is something to
///   be read now.
pub trait CommitHint: Send + Sync {
    /// Messages were written, in a transaction that may be committed soon.
    fn expected(&self);

    /// Messages were committed.
    fn committed(&self);
}

impl<H: CommitHint + ?Sized> CommitHint for Arc<H> {
    fn expected(&self) {
        (**self).expected();
    }

    fn committed(&self) {
        (**self).committed();
    }
}

/// The hints that a writer gives, if it was told to whom. For adapters.
#[derive(Clone, Default)]
pub struct CommitHints(Option<Arc<dyn CommitHint>>);

impl CommitHints {
    /// To this one.
    #[must_use]
    pub fn to(hint: impl CommitHint + 'static) -> Self {
        Self(Some(Arc::new(hint)))
    }

    /// As [`CommitHint::expected`], if so many messages are any.
    pub fn expected(&self, messages: usize) {
        if let Some(hint) = self.0.as_ref().filter(|_| messages > 0) {
            hint.expected();
        }
    }

    /// As [`CommitHint::committed`].
    pub fn committed(&self) {
        if let Some(hint) = &self.0 {
            hint.committed();
        }
    }
}

impl fmt::Debug for CommitHints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "CommitHints(given)" } else { "CommitHints(none)" })
    }
}
