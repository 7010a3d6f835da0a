use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    BrokerConfigError, Finding, OutboxMessage, PublishError, Topic, Transport, TransportCapabilities,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{Failure, publish_error};
use crate::publisher::{PublishResult, Publisher, all};
use crate::{AmqpConfig, diagnose};

/// Publishes to an exchange of RabbitMQ. See the [crate] for what goes where.
///
/// The connection is opened by the first call that needs it, and opened anew after it was lost; a broker that is down is
/// an error of that call, never of the construction.
pub struct AmqpTransport {
    publisher: Publisher,
    /// One for each window that may be under way.
    windows: Semaphore,
    closed: AtomicBool,
}

impl AmqpTransport {
    /// A transport from a URL; `AmqpConfig` has the list of its parameters. Tries once to reach the broker, and only
    /// logs if that fails: it may come up later.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the URL is wrong, or a file that it names; never because of the broker.
    ///
    /// # Cancel safety
    ///
    /// Yes; an exchange may have been declared.
    pub async fn connect(url: &str) -> Result<Self, BrokerConfigError> {
        let transport = Self::new(url.parse()?)?;
        if let Err(error) = transport.check().await {
            tracing::warn!("the RabbitMQ transport is not ready yet: {error}");
        }
        Ok(transport)
    }

    /// A transport that does not connect before it has something to do.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if a value is out of its range, or a file can't be read.
    pub fn new(config: AmqpConfig) -> Result<Self, BrokerConfigError> {
        let publisher = Publisher::new(config)?;
        let windows = Semaphore::new(publisher.config.channels);
        Ok(Self { publisher, windows, closed: AtomicBool::new(false) })
    }

    const fn config(&self) -> &AmqpConfig {
        &self.publisher.config
    }

    async fn publish_window(&self, messages: &[OutboxMessage], deadline: Instant) -> Vec<PublishResult> {
        match timeout_at(deadline, self.windows.acquire()).await {
            Ok(Ok(_permit)) => self.publisher.publish(messages, deadline).await,
            Ok(Err(_)) => all(messages, &publish_error(Failure::Closed)),
            Err(_) => all(messages, &publish_error(Failure::NotSent)),
        }
    }
}

#[async_trait]
impl Transport for AmqpTransport {
    fn capabilities(&self) -> TransportCapabilities {
        // The broker returns or refuses one message and takes the next one: there is no order in a batch.
        TransportCapabilities::new("amqp")
            .pipelined_order(false)
            .max_batch(self.config().window())
            .max_in_flight(self.config().window() * self.config().channels)
            .max_send_time(self.config().publish_timeout)
            .durability("durable queues, quorum queues in a cluster; `overflow=reject-publish` where their length is limited")
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<PublishResult> {
        let deadline = Instant::now() + self.config().publish_timeout;
        let mut results = Vec::with_capacity(batch.len());
        for messages in batch.chunks(self.config().window()) {
            results.extend(self.publish_window(messages, deadline).await);
        }
        results
    }

    async fn check(&self) -> Result<(), PublishError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(publish_error(Failure::Closed));
        }
        self.publisher.look(Instant::now() + self.config().publish_timeout).await
    }

    async fn diagnose(&self, topics: &[Topic]) -> Vec<Finding> {
        let deadline = Instant::now() + self.config().publish_timeout;
        let running = diagnose::run(&self.publisher.link, self.config(), topics, deadline);
        match timeout_at(deadline, running).await {
            Ok(findings) => findings,
            Err(_) => vec![diagnose::silent(self.config())],
        }
    }

    async fn reset(&self) {
        self.publisher.link.cut().await;
    }

    async fn close(&self, time: Duration) -> Result<(), PublishError> {
        self.closed.store(true, Ordering::Release);
        let all = u32::try_from(self.config().channels).unwrap_or(u32::MAX);
        let finished = timeout(time, self.windows.acquire_many(all)).await.is_ok();
        let windows = self.config().channels - self.windows.available_permits();
        self.windows.close();
        if finished {
            self.publisher.link.close().await;
            return Ok(());
        }
        self.publisher.link.end().await;
        Err(publish_error(Failure::CloseTimedOut { unconfirmed: windows * self.config().window() }))
    }
}

impl fmt::Debug for AmqpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpTransport").field("config", self.config()).finish_non_exhaustive()
    }
}
