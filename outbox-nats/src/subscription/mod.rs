//! Receiving: a durable pull consumer per topic, and a connection of its own.

mod config;

mod consumer;
mod delivered;
mod error;
mod inbound;
mod pump;
mod receipt;
mod shared;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use outbox_core::{
    BrokerConfigError, Delivery, SubscribeError, SubscribeErrorKind, Subscription, SubscriptionCapabilities,
    Undecodable,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

pub use config::NatsSubscriptionConfig;

use consumer::Feed;
use error::{Failure, subscribe_error};
use pump::Pump;
use receipt::NatsReceipt;
use shared::Shared;

use crate::codec::decode;
use crate::connection::Connection;
use crate::stream::taken_by;

/// Reads from JetStream as a member of a group. See the [crate] for what a group is there.
///
/// The connection is opened by the first call that needs it, and opened anew after it was lost; a broker that is down
/// is an error of that call, never of the construction.
pub struct NatsSubscription {
    shared: Arc<Shared>,
    session: Option<Session>,
    failures: u32,
    not_before: Option<Instant>,
    looked_at_dead_letters: bool,
}

/// Receiving by one connection.
struct Session {
    connection: Arc<Connection>,
    pump: JoinHandle<()>,
    stop: Arc<Notify>,
}

impl Session {
    /// Returns when the server has been told to send nothing more, or it is too late for that.
    async fn stop(&mut self, time: Duration) {
        self.stop.notify_one();
        let _ = timeout(time, &mut self.pump).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl NatsSubscription {
    /// Between two attempts, at first and at most.
    const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

    /// A subscription from a URL; `NatsSubscriptionConfig` has the list of its parameters. Tries once to reach the
    /// broker, and only logs if that fails: it may come up later.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the URL is wrong, or a file that it names; never because of the broker.
    ///
    /// # Cancel safety
    ///
    /// Yes; consumers may have been created.
    pub async fn connect(url: &str) -> Result<Self, BrokerConfigError> {
        let mut subscription = Self::new(url.parse()?)?;
        if let Err(error) = subscription.open().await {
            tracing::warn!("the NATS subscription is not ready yet: {error}");
        }
        Ok(subscription)
    }

    /// A subscription that does not connect before it has something to do.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if a value is out of its range, or a file of a certificate can't be read.
    pub fn new(config: NatsSubscriptionConfig) -> Result<Self, BrokerConfigError> {
        let config = config.checked()?;
        config.endpoint.check_files()?;
        let shared = Arc::new(Shared::new(config));
        Ok(Self { shared, session: None, failures: 0, not_before: None, looked_at_dead_letters: false })
    }

    async fn open(&mut self) -> Result<(), SubscribeError> {
        if let Some(time) = self.not_before {
            sleep_until(time).await;
        }
        match self.start().await {
            Ok(session) => {
                self.session = Some(session);
                Ok(())
            }
            Err(error) => {
                self.pause();
                Err(error)
            }
        }
    }

    fn pause(&mut self) {
        let (first, longest) = Self::PAUSE;
        let pause = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        self.not_before = Some(Instant::now() + pause);
    }

    async fn start(&mut self) -> Result<Session, SubscribeError> {
        let connection = self.connection().await?;
        let feeds = self.feeds(&connection).await?;
        self.look_at_dead_letters(&connection).await;
        let reply = connection.client.new_inbox();
        let inbox = connection.client.subscribe(format!("{reply}.*")).await;
        let inbox = inbox.map_err(|_| subscribe_error(Failure::Lost))?;
        let prefetch = self.shared.config.options.prefetch;
        let inbound = self.shared.inbound.clone();
        let stop = Arc::new(Notify::new());
        let pump = Pump::new(connection.client.clone(), inbox, reply, feeds, prefetch, inbound);
        let pump = connection.spawn(pump.run(stop.clone()));
        Ok(Session { connection, pump, stop })
    }

    /// One that was not doubted: a server that does not answer on one connection may do so on another.
    async fn connection(&self) -> Result<Arc<Connection>, SubscribeError> {
        self.shared.cut(false).await;
        self.shared.connection().await
    }

    async fn feeds(&self, connection: &Connection) -> Result<Vec<Feed>, SubscribeError> {
        let config = &self.shared.config;
        let find = |topic| consumer::find(&connection.jetstream, config, topic);
        let all = try_join_all(config.options.topics.iter().map(|topic| find(topic.as_str())));
        let found = timeout(config.endpoint.request_timeout * 2, all).await;
        let found = found.unwrap_or_else(|_| Err(subscribe_error(Failure::TimedOut)));
        if found.as_ref().is_err_and(|error| error.kind() == SubscribeErrorKind::Unavailable) {
            connection.doubt();
        }
        found
    }

    /// Says at the start what would otherwise be found out by the first message that is given up.
    async fn look_at_dead_letters(&mut self, connection: &Connection) {
        let config = &self.shared.config;
        let subject = &config.options.dead_letters;
        if self.looked_at_dead_letters {
            return;
        }
        let asked = timeout(config.endpoint.request_timeout, taken_by(&connection.jetstream, subject)).await;
        if let Ok(Ok(found)) = asked {
            self.looked_at_dead_letters = true;
            if found.is_none() {
                tracing::warn!(
                    "no JetStream stream takes the dead letters of group {}, subject {subject:?}; until there is \
                     one, nothing can be given up",
                    config.options.group
                );
            }
        }
    }

    fn hand_out(&self) -> Option<Delivery> {
        let (serial, arrival) = self.shared.inbound.hand_out(self.shared.config.options.prefetch)?;
        let message = decode(&arrival.message).map_err(|error| Undecodable {
            topic: arrival.message.subject.to_string(),
            error,
            payload: arrival.message.payload.clone(),
        });
        let receipt = NatsReceipt::new(self.shared.clone(), serial, arrival.reply, arrival.message);
        Some(Delivery::new(message, Some(arrival.attempt), Box::new(receipt)))
    }
}

#[async_trait]
impl Subscription for NatsSubscription {
    fn capabilities(&self) -> SubscriptionCapabilities {
        let options = &self.shared.config.options;
        SubscriptionCapabilities::new("nats")
            .counts_deliveries(true)
            .partitioned(false)
            .fan_out(true)
            .redeliver_after(Some(options.redeliver_after))
            .prefetch(options.prefetch)
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        loop {
            self.shared.is_open()?;
            if self.session.is_none() {
                self.open().await?;
            }
            if let Some(delivery) = self.hand_out() {
                self.failures = 0;
                return Ok(delivery);
            }
            if let Some(error) = self.shared.inbound.ended() {
                if let Some(session) = self.session.take()
                    && error.kind() == SubscribeErrorKind::Unavailable
                {
                    session.connection.doubt();
                }
                self.pause();
                return Err(error);
            }
            self.shared.inbound.arrived.notified().await;
        }
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        let connection = self.connection().await?;
        self.feeds(&connection).await.map(drop)
    }

    async fn close(&mut self, time: Duration) -> Result<(), SubscribeError> {
        if !self.shared.close() {
            return Ok(());
        }
        let deadline = Instant::now() + time;
        // First, so that nothing that is handed back comes here again.
        if let Some(mut session) = self.session.take() {
            session.stop(time).await;
        }
        self.shared.hand_back(deadline).await
    }
}

impl fmt::Debug for NatsSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSubscription").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
