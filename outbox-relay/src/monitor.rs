use std::sync::Arc;
use std::time::SystemTime;

use outbox_core::RelayId;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::breaker::BreakerState;
use crate::health::{DestinationHealth, StoreHealth, Trouble};
use crate::leases::LeaseView;
use crate::stats::{Counters, RelayStats};

/// Looks at a relay from outside: for health checks and for people. Cheap, asks nobody, and keeps nothing alive: it also
/// answers when the relay has ended.
#[derive(Debug, Clone)]
pub struct RelayMonitor {
    pub(crate) relay: RelayId,
    pub(crate) running: AbortHandle,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) leases: watch::Receiver<LeaseView>,
    pub(crate) store: Arc<StoreHealth>,
    pub(crate) destinations: Arc<[Arc<DestinationHealth>]>,
    pub(crate) counters: Arc<Counters>,
}

/// How a relay is doing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// What it calls itself in `outbox_shards` and `outbox_relays`.
    pub relay: RelayId,
    /// Whether its task runs.
    pub running: bool,
    /// Whether it was told to stop.
    pub stopping: bool,
    /// Why the database does not answer; `None` if it does.
    pub store: Option<Trouble>,
    /// Its leases.
    pub leases: LeaseStatus,
    /// Its brokers.
    pub destinations: Vec<DestinationStatus>,
}

/// The leases of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseStatus {
    /// Shards that it owns. A relay without any stands by for the others.
    pub shards: usize,
    /// Shards that there are.
    pub of: usize,
    /// Whether the leases were renewed in time, so that messages may be sent.
    pub trusted: bool,
}

/// One broker of a relay.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DestinationStatus {
    /// The name of the route; for the default one that of the transport.
    pub name: String,
    /// The name of the transport.
    pub transport: &'static str,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// Since when messages wait for it, by this machine's clock; `None` if the breaker is closed.
    pub open_since: Option<SystemTime>,
    /// The last failed publish, however long ago.
    pub last_error: Option<Trouble>,
}

impl RelayMonitor {
    /// How the relay is doing now.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        let destination = |health: &Arc<DestinationHealth>| {
            let state = health.state();
            DestinationStatus {
                name: health.name.clone(),
                transport: health.transport,
                breaker: state.breaker,
                open_since: state.open_since,
                last_error: state.last_error,
            }
        };
        RelayStatus {
            relay: self.relay,
            running: !self.running.is_finished(),
            stopping: *self.stop.borrow(),
            store: self.store.outage(),
            leases: self.leases(),
            destinations: self.destinations.iter().map(destination).collect(),
        }
    }

    /// Its leases now. It costs little enough to be asked after every commit.
    #[must_use]
    pub fn leases(&self) -> LeaseStatus {
        let view = self.leases.borrow();
        LeaseStatus {
            shards: view.held.len(),
            of: usize::from(view.shard_count),
            trusted: view.trusted_until.is_some_and(|until| Instant::now() < until),
        }
    }

    /// What the relay has done so far.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        self.counters.snapshot()
    }
}
