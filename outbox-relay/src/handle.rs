use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{OutboxStore, RelayId, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::RelayError;
use crate::monitor::RelayMonitor;
use crate::stats::RelayStats;
use crate::waker::Waker;

/// A running relay.
///
/// Dropping it stops the relay in the background: what is under way is finished and settled, and the leases are
/// released. Use [`RelayHandle::shutdown`] to wait for that.
#[must_use = "dropping the handle stops the relay"]
pub struct RelayHandle {
    monitor: RelayMonitor,
    store: Arc<dyn OutboxStore>,
    waker: Waker,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<Result<(), RelayError>>>,
}

impl RelayHandle {
    pub(crate) fn new(
        monitor: RelayMonitor,
        store: Arc<dyn OutboxStore>,
        waker: Waker,
        stop: watch::Sender<bool>,
        running: JoinHandle<Result<(), RelayError>>,
    ) -> Self {
        Self { monitor, store, waker, stop, running: Some(running) }
    }

    /// What the relay calls itself in `outbox_shards` and `outbox_relays`.
    #[must_use]
    pub fn id(&self) -> RelayId {
        self.monitor.relay
    }

    /// Looks at the relay from outside, also after the handle is gone.
    #[must_use]
    pub fn monitor(&self) -> RelayMonitor {
        self.monitor.clone()
    }

    /// Wakes the relay after a commit. Clone it to wherever commits happen.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What the relay has done so far.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        self.monitor.stats()
    }

    /// Waits until nothing is left to deliver: no row waits, in any shard, also not for a retry. Messages in the dead
    /// letters do not count. For tests; there is no time-out, so put one around it.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] that waiting does not cure.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn drained(&self) -> Result<(), StoreError> {
        drained(&*self.store, || self.waker.wake()).await
    }

    /// Waits until the relay has ended by itself, which it does only after a defect.
    ///
    /// # Errors
    ///
    /// Why it ended.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn ended(&mut self) -> Result<(), RelayError> {
        match &mut self.running {
            Some(running) => {
                let result = running.await.unwrap_or(Err(RelayError::Panicked));
                self.running = None;
                result
            }
            None => Ok(()),
        }
    }

    /// Stops: nothing new is read or sent, what is under way is finished and settled, the leases are released so that
    /// other relays take over at once, and the transports are closed. Uses no attempt and causes no duplicate.
    ///
    /// # Errors
    ///
    /// [`RelayError::ShutdownTimedOut`] if that took longer than `shutdown_timeout`: then some messages will be
    /// published again by the next owner.
    ///
    /// # Cancel safety
    ///
    /// No: a dropped future leaves the shutdown going on in the background.
    pub async fn shutdown(mut self) -> Result<RelayStats, RelayError> {
        let _ = self.stop.send(true);
        self.ended().await?;
        Ok(self.monitor.stats())
    }

    /// Stops at once, as if the process had died: nothing is finished, settled or released. For tests of what happens
    /// then.
    pub fn abort(mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// [`RelayHandle::drained`] for those who have the store and no handle; `hint` is called before each look, to wake whoever
/// delivers.
///
/// # Errors
///
/// A [`StoreError`] that waiting does not cure.
///
/// # Cancel safety
///
/// Yes.
pub async fn drained(store: &dyn OutboxStore, hint: impl Fn()) -> Result<(), StoreError> {
    let mut pause = Duration::from_millis(1);
    loop {
        hint();
        match store.is_empty().await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

impl fmt::Debug for RelayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayHandle").field("relay", &self.monitor.relay).finish_non_exhaustive()
    }
}
