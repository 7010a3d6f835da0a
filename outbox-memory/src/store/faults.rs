use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use outbox_core::{StoreError, StoreErrorKind};

/// What a test wants to go wrong, and how often each operation was called.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    calls: HashMap<&'static str, u64>,
    planned: HashMap<&'static str, VecDeque<Fault>>,
    pub(crate) down: bool,
    pub(crate) latency: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Nothing is done.
    Refuse(StoreErrorKind),
    /// It is done, but the caller is told that it failed: the connection was cut before the answer.
    LoseReply(StoreErrorKind),
}

impl Faults {
    pub(crate) fn count(&mut self, operation: &'static str) -> Option<Fault> {
        *self.calls.entry(operation).or_default() += 1;
        if self.down {
            return Some(Fault::Refuse(StoreErrorKind::Unavailable));
        }
        self.planned.get_mut(operation).and_then(VecDeque::pop_front)
    }

    pub(crate) fn plan(&mut self, operation: &'static str, fault: Fault) {
        self.planned.entry(operation).or_default().push_back(fault);
    }

    pub(crate) fn calls(&self, operation: &str) -> u64 {
        self.calls.get(operation).copied().unwrap_or(0)
    }

    pub(crate) fn all_calls(&self) -> u64 {
        self.calls.values().sum()
    }
}

pub(crate) fn injected(kind: StoreErrorKind, operation: &'static str) -> StoreError {
    StoreError::new(kind, operation, "a failure that a test asked for")
}
