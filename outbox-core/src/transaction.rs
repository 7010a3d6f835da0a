use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// How a transaction is run: how often it begins anew after a conflict, and at which isolation level.
///
/// A conflict is an error by which the database says that the transaction itself was not wrong, only unlucky: a
/// serialization failure, a deadlock, a lock that was not granted in time, a busy database. By default a transaction is
/// tried ten times, with pauses that grow from 5 ms to 500 ms, each of a random length up to twice that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionPolicy {
    attempts: u32,
    first_pause: Duration,
    longest_pause: Duration,
    isolation: Option<Isolation>,
}

impl TransactionPolicy {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            attempts: 10,
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(500),
            isolation: None,
        }
    }

    /// How often the transaction is tried in all; 0 counts as 1, which is once and never again.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The pause after the first conflict, doubled after each further one up to the longest.
    #[must_use]
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest.max(first);
        self
    }

    /// The isolation level; the database's own default if it is not set. SQLite has only one, which is serializable.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// The isolation level that was set.
    #[must_use]
    pub fn isolation_level(&self) -> Option<Isolation> {
        self.isolation
    }

    /// The pauses between the attempts: one fewer than there are attempts.
    pub fn pauses_between_attempts(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        // The jitter keeps two that met once from meeting again at each attempt.
        let times = usize::try_from(self.attempts - 1).unwrap_or(usize::MAX);
        ExponentialBuilder::new()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_max_times(times)
            .with_jitter()
            .build()
    }
}

impl Default for TransactionPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// What a transaction sees of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// All statements see what was committed before the first.
    RepeatableRead,
    /// As if no other transaction ran at the same time.
    Serializable,
}

/// Why a transaction with messages was not committed. `D` is the ORM's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError<D> {
    /// The database's error. The transaction is rolled back.
    #[error("the transaction is rolled back: {0}")]
    Database(#[source] D),
    /// Writing messages failed before, and the caller went on. Some databases would commit the rest without them.
    #[error("the transaction is rolled back: an earlier write of its messages failed")]
    Poisoned,
    /// The database had ended the transaction before, because of an error that the caller ignored.
    #[error("the transaction is rolled back: the database had ended it after an error that was ignored")]
    Ended,
    /// The connection was lost while the transaction was committed: it is committed or it is not. Look before it is
    /// tried again.
    #[error("nobody knows whether the transaction is committed: {0}")]
    Unknown(#[source] D),
}

impl<D> From<D> for TransactionError<D> {
    fn from(error: D) -> Self {
        Self::Database(error)
    }
}

impl<D> TransactionError<D> {
    /// The same with another error of the database.
    pub fn map<E>(self, to: impl FnOnce(D) -> E) -> TransactionError<E> {
        match self {
            Self::Database(error) => TransactionError::Database(to(error)),
            Self::Poisoned => TransactionError::Poisoned,
            Self::Ended => TransactionError::Ended,
            Self::Unknown(error) => TransactionError::Unknown(to(error)),
        }
    }
}

/// The body of a transaction: an `async` closure that can be called again, and whose future is known to be `Send`.
/// Implemented for every `async |tx| { … }`; not meant to be implemented by hand.
pub trait AsyncWork<T, R>: AsyncFn(T) -> R + Fn(T) -> <Self as AsyncWork<T, R>>::Fut {
    /// The future of the body, so that a bound can ask for `Send`.
    type Fut: Future<Output = R>;
}

impl<F, T, R, Fut> AsyncWork<T, R> for F
where
    F: AsyncFn(T) -> R + Fn(T) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_pause_less_than_attempts() {
        assert_eq!(TransactionPolicy::new().attempts(0).pauses_between_attempts().count(), 0);
        assert_eq!(TransactionPolicy::new().attempts(1).pauses_between_attempts().count(), 0);
        assert_eq!(TransactionPolicy::new().attempts(7).pauses_between_attempts().count(), 6);
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let (first, longest) = (Duration::from_millis(10), Duration::from_millis(80));
        let policy = TransactionPolicy::new().attempts(100).pauses(first, longest);
        let pauses: Vec<_> = policy.pauses_between_attempts().collect();
        assert_eq!(pauses.len(), 99);
        assert!(pauses.iter().all(|pause| (first..=2 * longest).contains(pause)), "{pauses:?}");
        assert!(pauses[98] >= longest);
    }
}
