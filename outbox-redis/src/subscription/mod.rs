//! Receiving: a consumer group of streams, or a member of a queue.

mod config;

mod source;

mod entry;
mod group;
mod streams;

mod lists;
mod queue;

mod pump;
mod receipt;
mod received;
mod shared;

mod error;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{BrokerConfigError, Delivery, SubscribeError, Subscription, SubscriptionCapabilities};
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use config::RedisSubscriptionConfig;

use error::{Failure, subscribe_error};
use lists::Lists;
use receipt::RedisReceipt;
use shared::Shared;
use source::Source;
use streams::Streams;

use crate::link::Link;
use crate::{RedisMode, tls};

/// Reads streams or lists as a member of a group.
///
/// * A **stream** is read by a consumer group, which is made if it is missing and then begins with the first entry of the
///   stream. What is not settled stays pending; another member claims it when it has been idle for `redeliver_after`.
///   What is trimmed before it is settled is gone: it is logged, and stands in nobody's way.
/// * A **list** is a queue of jobs: each element is taken once, by `BLMOVE`, into a list of this member
///   (`<topic>:processing:<member>`). The member gives a sign of life (in the sorted set `<topic>:members`); when that has
///   stopped for `redeliver_after`, another one puts its elements back. A handler that hangs in a member that lives keeps
///   its element until the subscription is closed. Elements that have an id are counted in `<topic>:attempts`. All groups
///   share the elements.
///
/// What a member has read ahead and not handed out yet does not run out of time. The server must be Redis 6.2 or later,
/// and no cluster; the user needs `EVAL`.
///
/// A server that can't be reached is an error of [`Subscription::next`], never of the construction.
pub struct RedisSubscription {
    config: RedisSubscriptionConfig,
    shared: Arc<Shared>,
    /// What reads.
    pump: Option<JoinHandle<()>>,
    closed: bool,
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

    /// Makes the group, so that what is published from now on is for it. A list waits for whoever comes.
    async fn ready(&self) -> Result<(), SubscribeError> {
        if self.config.mode == RedisMode::Stream {
            let source = &self.shared.source;
            self.shared.with(async |mut client| source.prepare(&mut client).await).await?;
        }
        self.look().await
    }

    /// Whether what is to be read can be read.
    async fn look(&self) -> Result<(), SubscribeError> {
        let keys: Vec<String> =
            self.config.options.topics.iter().map(|topic| self.config.key(topic.as_str())).collect();
        let mut types = redis::pipe();
        for key in &keys {
            types.cmd("TYPE").arg(key);
        }
        let count = keys.len();
        let types =
            async |mut client: MultiplexedConnection| client.send_packed_commands(&types, 0, count).await;
        let wanted = self.config.mode.as_str();
        for (key, found) in keys.iter().zip(self.shared.with(types).await?) {
            // A user may be allowed to read a key and not to ask what it is.
            if let Value::SimpleString(found) = &found
                && found != wanted
                && found != "none"
            {
                return Err(subscribe_error(Failure::Misfit { key, found, wanted }));
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<(), SubscribeError> {
        if self.closed {
            return Err(subscribe_error(Failure::Closed));
        }
        Ok(())
    }
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
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { pump::run(&shared).await })
        });
        let received = tokio::select! {
            biased;
            received = self.shared.received.next() => Some(received?),
            _ = &mut *pump => None,
        };
        let Some((item, place)) = received else {
            // Not polled again; the next call begins anew.
            self.pump = None;
            return Err(subscribe_error(Failure::Ended));
        };
        let receipt = RedisReceipt::new(Arc::clone(&self.shared), item.token, place);
        Ok(Delivery::new(item.message, item.attempt, Box::new(receipt)))
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        self.open()?;
        self.look().await
    }

    async fn close(&mut self, time: Duration) -> Result<(), SubscribeError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        let Some(pump) = self.pump.take() else { return Ok(()) };
        pump.abort();
        let _ = pump.await;
        self.shared.received.clear();
        let source = &self.shared.source;
        // Behind the settlements that are under way, on the same connection.
        let handing_back = self.shared.with(async |mut client| source.hand_back(&mut client).await);
        match timeout(time, handing_back).await {
            Ok(result) => result,
            Err(_) => Err(subscribe_error(Failure::NotHandedBack)),
        }
    }
}

impl Drop for RedisSubscription {
    fn drop(&mut self) {
        if let Some(pump) = &self.pump {
            pump.abort();
        }
    }
}

impl fmt::Debug for RedisSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSubscription").field("config", &self.config).finish_non_exhaustive()
    }
}
