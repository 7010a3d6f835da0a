//! The consumer: any subscription, any handler.

mod admission;
mod conductor;
mod config;
mod error;
mod handle;
mod lanes;
mod remembered;
mod report;
mod retention;
mod router;
#[cfg(outbox_sabotage)]
mod sabotage;
mod stats;
mod suspects;
mod work;

use std::fmt;
use std::sync::Arc;

use outbox_core::{ConsumerName, InboxAdmin, MessageHandler, Subscription};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use config::{ConsumerConfig, OldMessages, Order};
pub use error::ConsumerError;
pub use handle::ConsumerHandle;
pub use retention::purge_inbox;
pub use router::{Router, UnknownType};
pub use stats::ConsumerStats;

use conductor::Conductor;
use handle::Command;
use report::Reporter;
use stats::Counters;
use work::Shared;

/// Receives messages, hands them to a handler, and settles them with the broker.
///
/// * **After the commit.** A message is acknowledged when its handler has returned, never before. If the process dies in
///   between, it comes again, and the inbox of the handler drops it.
/// * **Many at once**, but one after the other for each ordering key ([`Order`]).
/// * **Retries** with growing pauses, and then the dead letters, with the reason. Tries are counted in the database of the
///   inbox ([`Consumer::inbox`]), so that a restart forgets none. A message that may have taken the process down is
///   handled alone, and counted before: it reaches the dead letters, too, and takes no other message along.
/// * **What is no fault of the message** uses no try: another consumer at the same message, a database that is away
///   ([`HandlerError::unavailable`](outbox_core::HandlerError::unavailable)).
///
/// ```no_run
/// # async fn run(
/// #     subscription: impl outbox_core::Subscription,
/// #     billing: impl outbox_core::MessageHandler,
/// #     store: impl outbox_core::InboxAdmin,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use outbox_core::ConsumerName;
/// use outbox_relay::Consumer;
///
/// let consumer = Consumer::new(ConsumerName::new("billing")?, subscription, billing).inbox(Arc::new(store)).start()?;
/// // … the service runs …
/// consumer.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a consumer runs after `start`"]
pub struct Consumer<H> {
    name: ConsumerName,
    subscription: Box<dyn Subscription>,
    handler: H,
    inbox: Option<Arc<dyn InboxAdmin>>,
    config: ConsumerConfig,
}

impl<H: MessageHandler> Consumer<H> {
    /// A consumer of a subscription. Its name is that of the inbox in its handler, if that has one.
    pub fn new(name: ConsumerName, subscription: impl Subscription, handler: H) -> Self {
        let subscription: Box<dyn Subscription> = Box::new(subscription);
        Self { name, subscription, handler, inbox: None, config: ConsumerConfig::default() }
    }

    /// Counts tries in the database of the inbox, and forgets there what is older than the retention.
    ///
    /// Without it tries are counted by the broker, where it counts deliveries, or else in memory: a message that takes the
    /// process down is then given up with those that were delivered beside it, or never.
    pub fn inbox(mut self, inbox: Arc<dyn InboxAdmin>) -> Self {
        self.inbox = Some(inbox);
        self
    }

    /// Replaces the whole configuration.
    pub fn config(mut self, config: ConsumerConfig) -> Self {
        self.config = config;
        self
    }

    /// Changes the configuration in place.
    pub fn configure(mut self, change: impl FnOnce(&mut ConsumerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Checks the configuration and starts. A broker that is away is no error: the consumer goes on trying.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Config`].
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio.
    pub fn start(self) -> Result<ConsumerHandle, ConsumerError> {
        let capabilities = self.subscription.capabilities();
        self.config.validate(&capabilities)?;
        if let Some(warning) = self.inbox.as_ref().and_then(|_| self.config.forgets_too_early()) {
            tracing::warn!(consumer = %self.name, "{warning}");
        }
        let shared = Arc::new(Shared {
            label: report::label(&self.name),
            name: self.name,
            handler: self.handler,
            config: self.config,
            inbox: self.inbox,
            counters: Counters::default(),
            keep_alive: capabilities.redeliver_after.map(|time| time / 3),
        });
        let (sender, command) = watch::channel(Command::Run);
        let trouble = handle::Trouble::default();
        let conductor = Conductor::new(Arc::clone(&shared), self.subscription, command, Arc::clone(&trouble));
        let beside = Arc::clone(&shared);
        let running = tokio::spawn(async move {
            let mut reporter = Reporter::new(&beside.name);
            // It ends with this task, however that ends.
            let mut purging = JoinSet::new();
            purging.spawn(purge(Arc::clone(&beside)));
            let ended = tokio::select! {
                ended = conductor.run() => ended,
                never = reporter.run(&beside.counters) => match never {},
            };
            purging.abort_all();
            reporter.tell(beside.counters.snapshot());
            if let Err(error) = &ended {
                tracing::error!(consumer = %beside.name, "the consumer has ended: {error}");
            }
            ended
        });
        let stats = Arc::new(move || shared.counters.snapshot());
        Ok(ConsumerHandle::new(sender, stats, trouble, running))
    }
}

async fn purge<H: MessageHandler>(shared: Arc<Shared<H>>) {
    let Some(inbox) = shared.inbox.clone() else {
        return std::future::pending().await;
    };
    let (retention, interval) = (shared.config.inbox_retention, shared.config.purge_interval);
    let purged = |count| shared.counters.purged.add(count);
    retention::keep_purging(inbox, &shared.name, retention, interval, purged).await;
}

impl<H> fmt::Debug for Consumer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
