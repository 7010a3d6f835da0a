use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outbox_core::CommitHint;

use crate::bell::{Bell, Hint};
use crate::metrics::{EXPECTED, IN_PROCESS};

/// Tells the relay in this process that something was committed. Cheap, never blocks, may be called at any rate: hints
/// that arrive while the relay is busy become one.
///
/// A writer takes it by `with_hint`, and then gives the hints by itself: see [`CommitHint`].
#[derive(Debug, Clone, Default)]
pub struct Waker {
    hints: Arc<Hints>,
    /// The place of whoever gives hints through this one.
    source: usize,
}

/// Hints from all sources to all destinations.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    destinations: Vec<Arc<Bell>>,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: &'static str,
    /// Hints that were not reported yet.
    given: AtomicU64,
}

/// The place of the writers in this process, for what is committed.
const COMMITTED_PLACE: usize = 0;
/// The same for what is not committed yet.
const EXPECTED_PLACE: usize = 1;
/// The places of the wake-ups begin here.
const WAKEUP_PLACES: usize = 2;

impl Waker {
    pub(crate) fn new(destinations: Vec<Arc<Bell>>, wakeups: impl IntoIterator<Item = &'static str>) -> Self {
        let names = [IN_PROCESS, EXPECTED].into_iter().chain(wakeups);
        let sources = names.map(|name| Source { name, given: AtomicU64::new(0) }).collect();
        Self { hints: Arc::new(Hints { destinations, sources }), source: COMMITTED_PLACE }
    }

    /// For the wake-up at this place, from 0.
    pub(crate) fn of_wakeup(&self, place: usize) -> Self {
        Self { hints: Arc::clone(&self.hints), source: WAKEUP_PLACES + place }
    }

    pub(crate) fn hints(&self) -> Arc<Hints> {
        Arc::clone(&self.hints)
    }

    /// Call it after the commit.
    pub fn wake(&self) {
        let hint = if self.source < WAKEUP_PLACES { Hint::COMMITTED } else { Hint::FROM_AFAR };
        self.hints.give(self.source, hint);
    }
}

impl CommitHint for Waker {
    fn expected(&self) {
        self.hints.give(EXPECTED_PLACE, Hint::EXPECTED);
    }

    fn committed(&self) {
        self.wake();
    }
}

impl Hints {
    fn give(&self, source: usize, hint: Hint) {
        // Before it rings: whoever it wakes reports it.
        if let Some(source) = self.sources.get(source) {
            source.given.fetch_add(1, Ordering::Relaxed);
        }
        self.destinations.iter().for_each(|destination| destination.ring(hint));
    }

    /// Says of each source how many hints it gave since the last call; 0 is said too.
    pub(crate) fn take(&self, mut say: impl FnMut(&'static str, u64)) {
        for Source { name, given } in &self.sources {
            say(name, given.swap(0, Ordering::Relaxed));
        }
    }
}
