use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    BrokerConfigError, Finding, OutboxMessage, PublishError, Topic, Transport, TransportCapabilities,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::batch::{Batch, PublishResult};
use crate::connection::Connection;
use crate::durability::{self, DEFAULT_LIMIT};
use crate::error::{Failure, publish_error};
use crate::link::Link;
use crate::{RedisConfig, diagnose, tls};

/// Publishes to streams or lists. See the [crate] for what goes where.
///
/// The connection is opened by the first call that needs it, and opened anew after it was lost; a server that is down is
/// an error of that call, never of the construction.
pub struct RedisTransport {
    config: RedisConfig,
    link: Link,
    in_flight: Semaphore,
    closed: AtomicBool,
    /// Whether the risks of this server were logged.
    warned: AtomicBool,
    /// The largest value that the server takes, once it has told.
    limit: AtomicUsize,
}

impl RedisTransport {
    /// Messages in one call at most.
    const MAX_BATCH: usize = 500;

    /// A transport from a URL; `RedisConfig` has the list of its parameters. Tries once to reach the server, and only
    /// logs if that fails: it may come up later.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the URL is wrong, or a file that it names; never because of the server.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn connect(url: &str) -> Result<Self, BrokerConfigError> {
        let transport = Self::new(url.parse()?)?;
        if let Err(error) = transport.check().await {
            tracing::warn!("the Redis transport is not ready yet: {error}");
        }
        Ok(transport)
    }

    /// A transport that does not connect before it has something to do.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if a value is out of its range, or a file can't be read.
    pub fn new(config: RedisConfig) -> Result<Self, BrokerConfigError> {
        let config = config.checked()?;
        let tls = tls::connector(&config.endpoint.tls)?;
        Ok(Self {
            link: Link::new(config.endpoint.clone(), tls),
            in_flight: Semaphore::new(config.max_in_flight),
            closed: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            limit: AtomicUsize::new(DEFAULT_LIMIT),
            config,
        })
    }

    /// Publishes at most as many as may be in flight.
    async fn publish_window(&self, window: &[OutboxMessage], deadline: Instant) -> Vec<PublishResult> {
        let batch = Batch::encode(window, &self.config, self.limit.load(Ordering::Relaxed));
        if batch.is_empty() {
            return batch.results(|_| publish_error(Failure::NotSent));
        }
        let wanted = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let Ok(permits) = timeout_at(deadline, self.in_flight.acquire_many(wanted)).await else {
            return batch.results(|_| publish_error(Failure::NotSent));
        };
        let Ok(_permits) = permits else {
            return batch.results(|_| publish_error(Failure::Closed));
        };
        match timeout_at(deadline, self.ready()).await {
            Ok(Ok(connection)) => batch.send(&connection, &self.config, deadline).await,
            Ok(Err(error)) => batch.results(|_| PublishError::new(error.kind(), error.to_string())),
            Err(_) => {
                self.link.give_up();
                let text = format!("{}: timed out", self.config.endpoint.addresses());
                batch.results(|_| publish_error(Failure::Unreachable(&text)))
            }
        }
    }

    /// The connection to a server that was looked at.
    async fn ready(&self) -> Result<Arc<Connection>, PublishError> {
        let connection = self.connection().await?;
        if !connection.is_looked_at() {
            self.look_at(&connection).await?;
        }
        Ok(connection)
    }

    async fn connection(&self) -> Result<Arc<Connection>, PublishError> {
        self.link.connection().await.map_err(|text| publish_error(Failure::Unreachable(&text)))
    }

    async fn look_at(&self, connection: &Connection) -> Result<(), PublishError> {
        let server = durability::ask(&mut connection.client()).await.map_err(|error| {
            let text = format!("{}: {error}", self.config.endpoint.addresses());
            publish_error(Failure::Unreachable(&text))
        })?;
        if let Some(limit) = server.largest_value {
            self.limit.store(limit, Ordering::Relaxed);
        }
        let risks = server.risks();
        let refused = risks.first().filter(|_| self.config.strict);
        connection.set_looked_at(refused.is_none());
        if let Some(risk) = refused {
            return Err(publish_error(Failure::Unsafe(&risk.detail)));
        }
        // A health check comes every few seconds.
        if !self.warned.swap(true, Ordering::AcqRel) {
            for risk in risks {
                tracing::warn!("Redis: {}: {}", risk.subject, risk.detail);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Transport for RedisTransport {
    fn capabilities(&self) -> TransportCapabilities {
        // A server refuses one command of a pipeline and takes the next one: there is no order in a batch.
        TransportCapabilities::new("redis")
            .pipelined_order(false)
            .max_batch(Self::MAX_BATCH.min(self.config.max_in_flight))
            .max_in_flight(self.config.max_in_flight)
            .max_payload(Some(self.limit.load(Ordering::Relaxed)))
            .max_send_time(self.config.publish_timeout)
            .durability("`appendonly yes`, `appendfsync always`, `maxmemory-policy noeviction`; `wait=N` for replicas")
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<PublishResult> {
        let deadline = Instant::now() + self.config.publish_timeout;
        let mut results = Vec::with_capacity(batch.len());
        for window in batch.chunks(self.config.max_in_flight) {
            results.extend(self.publish_window(window, deadline).await);
        }
        results
    }

    async fn check(&self) -> Result<(), PublishError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(publish_error(Failure::Closed));
        }
        let check = async {
            let connection = self.connection().await?;
            self.look_at(&connection).await
        };
        match timeout(self.config.publish_timeout, check).await {
            Ok(result) => result,
            Err(_) => {
                self.link.give_up();
                Err(publish_error(Failure::CheckTimedOut))
            }
        }
    }

    async fn diagnose(&self, topics: &[Topic]) -> Vec<Finding> {
        let addresses = self.config.endpoint.addresses();
        match timeout(self.config.publish_timeout, diagnose::run(&self.link, &self.config, topics)).await {
            Ok(findings) => findings,
            Err(_) => vec![diagnose::unreachable(&format!("{addresses}: it does not answer"))],
        }
    }

    async fn reset(&self) {
        self.link.cut(false).await;
    }

    async fn close(&self, time: Duration) -> Result<(), PublishError> {
        self.closed.store(true, Ordering::Release);
        let all = u32::try_from(self.config.max_in_flight).unwrap_or(u32::MAX);
        let finished = timeout(time, self.in_flight.acquire_many(all)).await.is_ok();
        let unconfirmed = self.config.max_in_flight - self.in_flight.available_permits();
        self.in_flight.close();
        self.link.cut(true).await;
        if finished {
            return Ok(());
        }
        Err(publish_error(Failure::CloseTimedOut { unconfirmed }))
    }
}

impl fmt::Debug for RedisTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTransport").field("config", &self.config).finish_non_exhaustive()
    }
}
