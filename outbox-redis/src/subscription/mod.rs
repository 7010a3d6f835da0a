//! Receiving: a consumer group of streams, or a member of a queue.

mod config;

mod lists;
mod source;
mod streams;

mod pump;
mod receipt;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    BrokerConfigError, Delivery, SubscribeError, SubscribeErrorKind, Subscription, SubscriptionCapabilities,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use config::RedisSubscriptionConfig;

use lists::Lists;
use pump::{Placed, Shared};
use receipt::RedisReceipt;
use source::Source;
use streams::Streams;

use crate::link::Link;
use crate::{RedisMode, tls};

/// Reads streams or lists as a member of a group.
///
/// * A **stream** is read by a consumer group, which is made if it is missing and then begins with the first entry of the
///   stream. What is not settled stays pending; another member claims it when it has been idle for `redeliver_after`.
/// * A **list** is a queue of jobs: each element is taken once, by `BLMOVE`, into a list of this member
///   (`<topic>:processing:<member>`). The member gives a sign of life (`<topic>:alive:<member>`); when that runs out,
///   another one puts its elements back. Elements that have an id are counted in `<topic>:attempts`. All groups share
///   the elements.
///
/// A server that can't be reached is an error of [`Subscription::next`], never of the construction.
pub struct RedisSubscription {
    config: RedisSubscriptionConfig,
    shared: Arc<Shared>,
    pump: Option<Pump>,
    closed: bool,
}

struct Pump {
    task: JoinHandle<()>,
    received: mpsc::Receiver<Result<Placed, SubscribeError>>,
}

impl RedisSubscription {
    /// A subscription from a URL; `RedisSubscriptionConfig` has the list of its parameters. Tries once to reach the
    /// server, and only logs if that fails: it may come up later.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the URL is wrong, or a file that it names; never because of the server.
    ///
    /// # Cancel safety
    ///
    /// Yes; a group may have been made.
    pub async fn connect(url: &str) -> Result<Self, BrokerConfigError> {
        let subscription = Self::new(url.parse()?)?;
        if let Err(error) = subscription.ready().await {
            tracing::warn!("the Redis subscription is not ready yet: {error}");
        }
        Ok(subscription)
    }

    /// A subscription that does not connect before it is read.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if a value is out of its range, or a file can't be read.
    pub fn new(config: RedisSubscriptionConfig) -> Result<Self, BrokerConfigError> {
        let config = config.checked()?;
        let link = Link::new(config.endpoint.clone(), tls::connector(&config.endpoint.tls)?);
        let source: Box<dyn Source> = match config.mode {
            RedisMode::Stream => Box::new(Streams::new(&config)),
            RedisMode::List => Box::new(Lists::new(&config)),
        };
        let shared = Shared::new(source, link, config.options.prefetch, config.options.redeliver_after);
        Ok(Self { config, shared: Arc::new(shared), pump: None, closed: false })
    }

    /// Makes the group, so that what is published from now on is for it.
    async fn ready(&self) -> Result<(), SubscribeError> {
        let source = &self.shared.source;
        match self.config.mode {
            RedisMode::Stream => self.shared.with(async |mut client| source.prepare(&mut client).await).await,
            // A list waits for whoever comes.
            RedisMode::List => self.shared.with(async |mut client| ping(&mut client).await).await,
        }
    }

    fn open(&self) -> Result<(), SubscribeError> {
        if self.closed {
            return Err(SubscribeError::new(SubscribeErrorKind::Closed, "the subscription is closed"));
        }
        Ok(())
    }
}

async fn ping(client: &mut redis::aio::MultiplexedConnection) -> redis::RedisResult<()> {
    redis::cmd("PING").query_async::<redis::Value>(client).await.map(drop)
}

#[async_trait]
impl Subscription for RedisSubscription {
    fn capabilities(&self) -> SubscriptionCapabilities {
        SubscriptionCapabilities::new("redis")
            .counts_deliveries(true)
            .fan_out(self.config.mode == RedisMode::Stream)
            .redeliver_after(Some(self.config.options.redeliver_after))
            .prefetch(self.config.options.prefetch)
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        self.open()?;
        let pump = self.pump.get_or_insert_with(|| {
            let (out, received) = mpsc::channel(self.config.options.prefetch + 1);
            Pump { task: tokio::spawn(pump::run(Arc::clone(&self.shared), out)), received }
        });
        let ended =
            || SubscribeError::new(SubscribeErrorKind::Unavailable, "receiving has ended unexpectedly");
        let (item, place) = pump.received.recv().await.ok_or_else(ended)??;
        let receipt = RedisReceipt::new(Arc::clone(&self.shared), item.token, place);
        Ok(Delivery::new(item.message, item.attempt, Box::new(receipt)))
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        self.open()?;
        self.shared.with(async |mut client| ping(&mut client).await).await
    }

    async fn close(&mut self, time: Duration) -> Result<(), SubscribeError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        let Some(pump) = self.pump.take() else { return Ok(()) };
        pump.task.abort();
        let _ = pump.task.await;
        drop(pump.received);
        let source = &self.shared.source;
        let handing_back = self.shared.with(async |mut client| source.hand_back(&mut client).await);
        let late = "Redis did not answer in time; what was unsettled comes again later";
        match timeout(time, handing_back).await {
            Ok(result) => result,
            Err(_) => Err(SubscribeError::new(SubscribeErrorKind::Unavailable, late)),
        }
    }
}

impl Drop for RedisSubscription {
    fn drop(&mut self) {
        if let Some(pump) = &self.pump {
            pump.task.abort();
        }
    }
}

impl fmt::Debug for RedisSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSubscription").field("config", &self.config).finish_non_exhaustive()
    }
}
