//! What is known of the database and the brokers, for people and for health checks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use outbox_core::StoreError;

use crate::breaker::BreakerState;
use crate::metrics;

/// Something that does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trouble {
    /// Since when, by this machine's clock.
    pub since: SystemTime,
    /// What was said last. Without credentials.
    pub error: String,
}

/// One log line when the database goes away, one when it is back, however many tasks notice and however often they
/// try.
#[derive(Debug, Default)]
pub(crate) struct StoreHealth {
    down: AtomicBool,
    outage: Mutex<Option<Trouble>>,
}

impl StoreHealth {
    pub(crate) fn failed(&self, error: &StoreError) {
        let source = std::error::Error::source(error).map(ToString::to_string);
        let mut outage = lock(&self.outage);
        let text = source.as_ref().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        match &mut *outage {
            Some(known) => known.error = text,
            None => {
                *outage = Some(Trouble { since: SystemTime::now(), error: text });
                self.down.store(true, Ordering::Relaxed);
                metrics::store_up(false);
                tracing::error!(error = %error, source, "the database does not answer; trying again with a growing pause");
            }
        }
    }

    pub(crate) fn succeeded(&self) {
        // A plain load first: this runs after every read and settle.
        if self.down.load(Ordering::Relaxed) && lock(&self.outage).take().is_some() {
            self.down.store(false, Ordering::Relaxed);
            metrics::store_up(true);
            tracing::info!("the database answers again");
        }
    }

    pub(crate) fn outage(&self) -> Option<Trouble> {
        lock(&self.outage).clone()
    }
}

/// What a destination's loop tells about its broker; written when something changes or fails.
#[derive(Debug)]
pub(crate) struct DestinationHealth {
    pub(crate) name: String,
    pub(crate) transport: &'static str,
    state: Mutex<BrokerState>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct BrokerState {
    pub(crate) breaker: BreakerState,
    /// When the breaker opened, if it is not closed.
    pub(crate) open_since: Option<SystemTime>,
    /// The last failed publish, and when that was.
    pub(crate) last_error: Option<Trouble>,
}

impl DestinationHealth {
    pub(crate) fn new(name: String, transport: &'static str) -> Self {
        Self { name, transport, state: Mutex::default() }
    }

    pub(crate) fn breaker(&self, breaker: BreakerState) {
        let mut state = lock(&self.state);
        state.breaker = breaker;
        state.open_since = match breaker {
            BreakerState::Closed => None,
            _ => state.open_since.or_else(|| Some(SystemTime::now())),
        };
    }

    pub(crate) fn failed(&self, error: &str) {
        lock(&self.state).last_error = Some(Trouble { since: SystemTime::now(), error: error.to_owned() });
    }

    pub(crate) fn state(&self) -> BrokerState {
        lock(&self.state).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
