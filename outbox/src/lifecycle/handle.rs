use std::fmt;
use std::sync::Arc;

use outbox_core::StoreError;
use outbox_relay::{Publisher, RelayError, RelayMonitor, RelayStats, drained};
use tokio::sync::watch;

use super::attend::{attend, ended, keep, stopped};
use super::served::Served;
use super::shared::{End, Shared, Slot};
use super::{OutboxWaker, RelayState, StartError};
use crate::DeliveryMode;
#[cfg(feature = "http")]
use crate::observe::{Observing, Readiness};

#[doc = include_str!("../docs/lifecycle.md")]
#[must_use = "dropping the handle stops the relay"]
pub struct OutboxHandle {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    finished: watch::Receiver<Option<End>>,
    #[cfg(feature = "http")]
    address: Option<std::net::SocketAddr>,
}

impl OutboxHandle {
    pub(super) fn new(shared: Shared, served: Served) -> Self {
        let shared = Arc::new(shared);
        let (stop, stopping) = watch::channel(false);
        let (finish, finished) = watch::channel(None);
        #[cfg(feature = "http")]
        let address = served.observing.as_ref().map(Observing::address);
        tokio::spawn(attend(Arc::clone(&shared), stopping, served, finish));
        Self {
            shared,
            stop,
            finished,
            #[cfg(feature = "http")]
            address,
        }
    }

    /// Starts the relay, where `auto_start` is off. One that runs already, or has ended, or is not to run in this process,
    /// is left as it is. After an error it may be called again.
    ///
    /// A database that can't be reached is no error: the relay says so once and keeps trying.
    ///
    /// # Errors
    ///
    /// [`StartError::Relay`] for a database that is not migrated or is of another version, and for a configuration that does
    /// not suit the broker; [`StartError::ShutDown`] after a shutdown.
    ///
    /// # Cancel safety
    ///
    /// Yes: then it was not started.
    pub async fn start(&self) -> Result<RelayState, StartError> {
        let mut slot = self.shared.slot.lock().await;
        let waiting = match &mut *slot {
            Slot::Waiting(waiting) => waiting,
            Slot::Off | Slot::Running => return Ok(self.state()),
            Slot::ShutDown => return Err(StartError::ShutDown),
        };
        let relay = self.shared.relay(waiting).await?;
        let mut stopping = self.stop.subscribe();
        let relay = tokio::select! {
            // First, so that no lease is taken for nothing.
            biased;
            _ = stopped(&mut stopping) => return Err(StartError::ShutDown),
            started = relay.start() => started?,
        };
        self.shared.runs(relay.monitor());
        self.shared.waker.belongs_to(Some((relay.waker(), relay.monitor())));
        tokio::spawn(keep(relay, stopping, Arc::clone(&self.shared)));
        *slot = Slot::Running;
        Ok(RelayState::Running)
    }

    /// What the relay is at.
    #[must_use]
    pub fn state(&self) -> RelayState {
        let Shared { config, ended, monitor, .. } = &*self.shared;
        if ended.borrow().is_some() {
            RelayState::Ended
        } else if monitor.get().is_some() {
            RelayState::Running
        } else if config.relays() {
            RelayState::Waiting
        } else {
            RelayState::Off
        }
    }

    /// Which way messages take. In mode [`DeliveryMode::Direct`] there is no table, and a writer has nothing to write to.
    #[must_use]
    pub fn mode(&self) -> DeliveryMode {
        self.shared.config.mode_in_effect()
    }

    /// Tells relays that something was committed. Clone it to wherever commits happen.
    #[must_use]
    pub fn waker(&self) -> OutboxWaker {
        self.shared.waker.clone()
    }

    /// The publisher of [`OutboxBuilder::start_with_publisher`](super::OutboxBuilder::start_with_publisher).
    #[must_use]
    pub fn publisher(&self) -> Option<&Publisher> {
        self.shared.publisher.as_ref()
    }

    /// Looks at the relay from outside, also when it has ended. `None` if it was not started.
    #[must_use]
    pub fn monitor(&self) -> Option<RelayMonitor> {
        self.shared.monitor.get().cloned()
    }

    /// What the relay has done so far; nothing, if it was not started.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        self.shared.monitor.get().map(RelayMonitor::stats).unwrap_or_default()
    }

    /// Whether the process can do its work, and why not: what `/readyz` answers, or where that is not served what is known
    /// of the relay alone. For the health check of a router of your own.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match &self.shared.observed {
            Some(observed) => observed.readiness(),
            None => {
                let relays: Vec<_> =
                    self.shared.monitor.get().map(RelayMonitor::status).into_iter().collect();
                Readiness::of_relays(&relays)
            }
        }
    }

    /// Where metrics and health are served, if they are; with port 0 in the configuration, the port that the system chose.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.address
    }

    /// Waits until nothing is left to deliver, whoever delivers it; see
    /// [`RelayHandle::drained`](outbox_relay::RelayHandle::drained). At once where there is no table. There is no time-out.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] that waiting does not cure.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn drained(&self) -> Result<(), StoreError> {
        match &self.shared.store {
            Some(store) => drained(&**store, || self.shared.waker.wake()).await,
            None => Ok(()),
        }
    }

    /// Waits until the relay has ended: because of a shutdown, or by itself, which it does only after a defect. Then this
    /// process delivers nothing any more, `/healthz` says so, and the best that it can do is to end.
    ///
    /// The future borrows nothing, so that it may be a part of what ends a server:
    ///
    /// ```no_run
    /// # async fn signal() {}
    /// # async fn run(outbox: outbox::OutboxHandle) {
    /// let ended = outbox.ended();
    /// let stop = async move {
    ///     tokio::select! { () = signal() => {}, _ = ended => {} }
    /// };
    /// // axum::serve(listener, service).with_graceful_shutdown(stop).await?;
    /// # stop.await;
    /// # }
    /// ```
    ///
    /// A relay that was not started ends with the shutdown.
    ///
    /// # Errors
    ///
    /// Why it ended; [`RelayError::Panicked`] for a defect.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub fn ended(&self) -> impl Future<Output = Result<(), Arc<RelayError>>> + Send + use<> {
        let end = self.shared.ended.subscribe();
        async move { ended(end).await.map(drop) }
    }

    /// Stops: the relay finishes and settles what is under way and releases its leases, so that other relays take over at
    /// once; then the transports are closed, those of the publisher, too; and at last metrics and health are no longer
    /// served. Call it when no request can commit anything more.
    ///
    /// A second call waits for the same end and returns the same. It does not start again.
    ///
    /// # Errors
    ///
    /// How the relay has ended, if not well: [`RelayError::ShutdownTimedOut`] if what was under way took longer than
    /// `relay.shutdown_timeout` (the next owner publishes it again); [`RelayError::Panicked`] if it had ended before, by a
    /// defect; [`RelayError::Transport`] if a transport could not be closed in time.
    ///
    /// # Cancel safety
    ///
    /// Yes: a dropped future leaves the shutdown going on in the background, and another call waits for it.
    pub async fn shutdown(&self) -> Result<RelayStats, Arc<RelayError>> {
        self.stop.send_replace(true);
        ended(self.finished.clone()).await
    }
}

impl fmt::Debug for OutboxHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxHandle")
            .field("mode", &self.mode())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
