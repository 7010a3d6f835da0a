use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::metrics::IN_PROCESS;

/// Tells the relay in this process that something was committed. Cheap, never blocks, may be called at any rate: hints
/// that arrive while the relay is busy become one.
#[derive(Debug, Clone, Default)]
pub struct Waker {
    hints: Arc<Hints>,
    /// The place of whoever gives hints through this one.
    source: usize,
}

/// Hints from all sources to all destinations.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    destinations: Vec<Arc<Notify>>,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: &'static str,
    /// Hints that were not reported yet.
    given: AtomicU64,
}

impl Waker {
    pub(crate) fn new(
        destinations: Vec<Arc<Notify>>,
        wakeups: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let names = [IN_PROCESS].into_iter().chain(wakeups);
        let sources = names.map(|name| Source { name, given: AtomicU64::new(0) }).collect();
        Self { hints: Arc::new(Hints { destinations, sources }), source: 0 }
    }

    /// For the wake-up at this place, from 0.
    pub(crate) fn of_wakeup(&self, place: usize) -> Self {
        Self { hints: Arc::clone(&self.hints), source: place + 1 }
    }

    pub(crate) fn hints(&self) -> Arc<Hints> {
        Arc::clone(&self.hints)
    }

    /// Call it after the commit.
    pub fn wake(&self) {
        let Hints { destinations, sources } = &*self.hints;
        // Before the notification: whoever it wakes reports it.
        if let Some(source) = sources.get(self.source) {
            source.given.fetch_add(1, Ordering::Relaxed);
        }
        destinations.iter().for_each(|destination| destination.notify_one());
    }
}

impl Hints {
    /// Says of each source how many hints it gave since the last call; 0 is said too.
    pub(crate) fn take(&self, mut say: impl FnMut(&'static str, u64)) {
        for Source { name, given } in &self.sources {
            say(name, given.swap(0, Ordering::Relaxed));
        }
    }
}
