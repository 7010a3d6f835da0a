use std::sync::{Arc, OnceLock};

use outbox_relay::{Publisher, Relay, RelayError, RelayMonitor, RelayStats};
use tokio::sync::{Mutex, watch};

use super::waker::OutboxWaker;
use crate::config::Brought;
use crate::{Config, ConnectError, Store};

/// How a relay has ended. Several may want to know.
pub(super) type End = Result<RelayStats, Arc<RelayError>>;

/// What the handle and its tasks have in common.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) publisher: Option<Publisher>,
    pub(super) waker: OutboxWaker,
    /// `None` where there is no table.
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) slot: Mutex<Slot>,
    /// Of the relay that was started, also when it has ended.
    pub(super) monitor: OnceLock<RelayMonitor>,
    pub(super) ended: watch::Sender<Option<End>>,
    #[cfg(feature = "http")]
    pub(super) observed: Option<Arc<crate::observe::Sources>>,
}

/// The place of the relay. Whoever starts it or ends it holds the lock, so that the two exclude each other.
pub(super) enum Slot {
    Off,
    Waiting(Box<Waiting>),
    Running,
    ShutDown,
}

/// A relay that was not started yet.
pub(super) struct Waiting {
    /// `None` after an attempt, which has used it up.
    pub(super) relay: Option<Relay>,
    pub(super) brought: Brought,
}

impl Shared {
    /// The relay that waits, or another one like it.
    pub(super) async fn relay(&self, waiting: &mut Waiting) -> Result<Relay, ConnectError> {
        match waiting.relay.take() {
            Some(relay) => Ok(relay),
            None => relay(&self.config, &waiting.brought, self.publisher.as_ref()).await,
        }
    }

    /// Readiness is asked for it from now on.
    pub(super) fn runs(&self, monitor: RelayMonitor) {
        #[cfg(feature = "http")]
        if let Some(observed) = &self.observed {
            observed.add(monitor.clone());
        }
        // It starts once.
        let _ = self.monitor.set(monitor);
    }

    pub(super) fn end(&self, end: End) {
        self.waker.belongs_to(None);
        self.ended.send_replace(Some(end));
    }
}

pub(super) async fn relay(
    config: &Config,
    brought: &Brought,
    publisher: Option<&Publisher>,
) -> Result<Relay, ConnectError> {
    match publisher {
        Some(publisher) => config.relay_beside_with(brought, publisher).await,
        None => config.relay_with(brought).await,
    }
}
