use std::time::Duration;

use outbox_core::TransactionPolicy;

use super::error::{Busy, Conflict};

/// No line is waited in for longer than so many pauses, however many attempts there are.
const MOST_PAUSES: usize = 10_000;

/// Counts the attempts of one run, and says how long to pause before the next.
pub(super) struct Attempts<I> {
    made: u32,
    pauses: I,
}

impl Attempts<()> {
    pub(super) fn of(policy: &TransactionPolicy) -> Attempts<impl Iterator<Item = Duration> + Send + use<>> {
        Attempts { made: 0, pauses: policy.pauses_between_attempts() }
    }
}

impl<I: Iterator<Item = Duration>> Attempts<I> {
    /// Begins the next attempt, and returns its number from 1.
    pub(super) fn begin(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// The pause after an attempt that was lost.
    pub(super) fn lost(&mut self, conflict: Conflict) -> Result<Duration, Busy> {
        self.pauses.next().ok_or_else(|| self.busy(conflict.key, conflict.found))
    }

    pub(super) fn busy(&self, key: String, version: u64) -> Busy {
        Busy { key, attempts: self.made, version }
    }
}

/// How long a run waits in line at most: as long as all its pauses would take.
pub(super) fn patience(policy: &TransactionPolicy) -> Duration {
    policy.pauses_between_attempts().take(MOST_PAUSES).fold(Duration::ZERO, Duration::saturating_add)
}
