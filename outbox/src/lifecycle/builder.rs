use std::fmt;
use std::sync::{Arc, OnceLock};

use outbox_core::Transport;
use outbox_relay::{MessageSink, Publisher};
use tokio::sync::{Mutex, watch};

use super::hints::notifiers;
use super::served::Serving;
use super::shared::{Shared, Slot, Waiting, relay};
use super::{OutboxHandle, OutboxWaker, StartError};
use crate::config::Brought;
#[cfg(feature = "http")]
use crate::observe::{Observer, Observing};
use crate::{Config, DeliveryMode, Store};

/// Starts the outbox of an application; see [`OutboxHandle`].
#[must_use = "nothing runs before `start`"]
pub struct OutboxBuilder {
    config: Config,
    brought: Brought,
    serving: Serving,
}

impl OutboxBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self { config, brought: Brought::default(), serving: Serving::default() }
    }

    /// The store, instead of the one at `store.url`: on the application's own pool, for example. If there is a `store.url`
    /// all the same it is the same database; it serves for what needs a connection of its own, such as `LISTEN`.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.brought.store = Some(store);
        self
    }

    /// The transport, instead of the one at `transport.url`. Routes go to theirs all the same. It is closed with the relay
    /// or the publisher if nobody else holds it.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.brought.transport = Some(transport);
        self
    }

    /// What serves metrics and health where `metrics.enabled` says so; for a process that has a recorder of its own, or
    /// wants other intervals. The store and the relay are added to it.
    #[cfg(feature = "http")]
    pub fn observer(mut self, observer: Observer) -> Self {
        self.serving.observer = observer;
        self
    }

    /// Starts everything that the configuration asks for: the relay, unless `processor_enabled` or `auto_start` is off or
    /// the mode is direct, with its wake-ups; and metrics and health, if `metrics.enabled` is on.
    ///
    /// Neither a database nor a broker that can't be reached is an error.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing runs then.
    ///
    /// # Cancel safety
    ///
    /// Yes: what has begun is stopped in the background.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start(self) -> Result<OutboxHandle, StartError> {
        self.launch(None).await
    }

    /// [`OutboxBuilder::start`] with a publisher for messages that belong to no transaction ([`Config::publisher`]): it
    /// shares its connections with the relay, wakes it, and is closed with it. [`Config::publisher`] shows sinks for each ORM.
    ///
    /// # Errors
    ///
    /// As [`OutboxBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// As [`OutboxBuilder::start`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start_with_publisher(
        self,
        sink: impl MessageSink,
    ) -> Result<(OutboxHandle, Publisher), StartError> {
        let publisher = self.config.publisher_with(&self.brought, sink).await?;
        let handle = self.launch(Some(publisher.clone())).await?;
        Ok((handle, publisher))
    }

    async fn launch(self, publisher: Option<Publisher>) -> Result<OutboxHandle, StartError> {
        let has_table = self.config.mode_in_effect() != DeliveryMode::Direct;
        let slot = if self.config.relays() {
            let relay = relay(&self.config, &self.brought, publisher.as_ref()).await?;
            Slot::Waiting(Box::new(Waiting { relay: Some(relay), brought: self.brought.clone() }))
        } else {
            Slot::Off
        };
        let others = if has_table { notifiers(&self.config)? } else { Vec::new() };
        let waker = OutboxWaker::new(self.config.wakeups.in_process, others);
        if let Some(publisher) = &publisher {
            let waker = waker.clone();
            publisher.wakes(move || waker.wake());
        }
        let store = if has_table { Some(self.config.store_of(&self.brought).await?) } else { None };
        let served = self.serving.start(&self.config, &self.brought, has_table).await?;
        let auto_start = self.config.auto_start;
        let shared = Shared {
            config: self.config,
            publisher,
            waker,
            store,
            slot: Mutex::new(slot),
            monitor: OnceLock::new(),
            ended: watch::Sender::new(None),
            #[cfg(feature = "http")]
            observed: served.observing.as_ref().map(Observing::sources),
        };
        // Who holds a transport alone closes it at its end.
        drop(self.brought);
        let handle = OutboxHandle::new(shared, served);
        if auto_start && let Err(error) = handle.start().await {
            // How it ends is of no interest beside why it has not begun.
            let _ = handle.shutdown().await;
            return Err(error);
        }
        tracing::info!(mode = ?handle.mode(), relay = ?handle.state(), "the outbox has started");
        Ok(handle)
    }
}

impl Config {
    /// Whether a relay belongs into this process.
    pub(super) fn relays(&self) -> bool {
        self.processor_enabled && self.mode_in_effect() != DeliveryMode::Direct
    }
}

impl fmt::Debug for OutboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
