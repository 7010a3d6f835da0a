/// Another commit came first: the state is not the one that the step was made from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state {key} was read at version {expected} and is now another one, of version {found}")]
#[non_exhaustive]
pub struct Conflict {
    /// The key, as `Debug` writes it.
    pub key: String,
    /// The version that the step was made from.
    pub expected: u64,
    /// The version that is there now; 0 if the state was removed.
    pub found: u64,
}

/// Every attempt that the policy allows was lost to another commit, or too many others were before it. Nothing is
/// committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "state {key} is busy: it is at version {version} after {attempts} lost attempts; allow more attempts or longer pauses, \
     or spread what it holds over several keys"
)]
#[non_exhaustive]
pub struct Busy {
    /// The key, as `Debug` writes it.
    pub key: String,
    /// How often the process was called; 0 if others stood in line all the time.
    pub attempts: u32,
    /// The version that is there now; 0 if the state was removed.
    pub version: u64,
}

/// Why a process has no effect. `E` is its own error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// Too many others write to the same key.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The process itself failed.
    #[error("the process failed: {0}")]
    Process(#[source] E),
}
