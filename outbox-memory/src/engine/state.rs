use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A state as it was at one version: immutable, and cheap to clone. The [`Engine`](crate::Engine) hands it out; a
/// [`commit`](crate::Engine::commit) replaces it by its successor.
pub struct State<S> {
    version: u64,
    value: Arc<S>,
}

impl<S> State<S> {
    /// What a key has before anything was committed to it.
    pub(super) fn initial(value: S) -> Self {
        Self { version: 0, value: Arc::new(value) }
    }

    pub(super) fn successor(&self, value: S) -> Self {
        Self { version: self.version + 1, value: Arc::new(value) }
    }

    /// How many commits made it: 0 for a key that nothing was committed to. Counted without a gap.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether this is the very value, not one with the same version: a key that was removed and written again counts
    /// its versions anew, and another key has the same ones. As long as a handle lives, no other value has its address.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.value, &other.value)
    }
}

impl<S> Deref for State<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.value
    }
}

impl<S> Clone for State<S> {
    fn clone(&self) -> Self {
        Self { version: self.version, value: Arc::clone(&self.value) }
    }
}

impl<S: fmt::Debug> fmt::Debug for State<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("version", &self.version).field("value", &self.value).finish()
    }
}
