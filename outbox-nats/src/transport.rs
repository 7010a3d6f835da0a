use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    BrokerConfigError, Finding, OutboxMessage, PublishError, Topic, Transport, TransportCapabilities,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::batch::Batch;
use crate::connection::Connection;
use crate::error::{Failure, publish_error};
use crate::link::Link;
use crate::{NatsConfig, diagnose, stream};

/// Publishes to JetStream. See the [crate] for what goes where.
///
/// The connection is opened by the first call that needs it, and opened anew after it was lost; a broker that is down
/// is an error of that call, never of the construction.
pub struct NatsTransport {
    config: NatsConfig,
    link: Link,
    in_flight: Semaphore,
    /// Whether the stream was found, or created, and nobody has missed one since.
    checked: AtomicBool,
    /// Whether the log has what can lose messages.
    warned: AtomicBool,
    closed: AtomicBool,
    learned: Mutex<Learned>,
}

type PublishResult = Result<(), PublishError>;

/// What the broker has told about itself.
#[derive(Debug, Clone, Copy, Default)]
struct Learned {
    max_payload: Option<usize>,
    dedup_window: Option<Duration>,
}

impl NatsTransport {
    /// Messages in one call at most.
    const MAX_BATCH: usize = 256;

    /// A transport from a URL; `NatsConfig` has the list of its parameters. Tries once to reach the broker, and only
    /// logs if that fails: it may come up later.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the URL is wrong, or a file that it names; never because of the broker.
    ///
    /// # Cancel safety
    ///
    /// Yes; a stream may have been created.
    pub async fn connect(url: &str) -> Result<Self, BrokerConfigError> {
        let transport = Self::new(url.parse()?)?;
        if let Err(error) = transport.check().await {
            tracing::warn!("the NATS transport is not ready yet: {error}");
        }
        Ok(transport)
    }

    /// A transport that does not connect before it has something to do.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if a value is out of its range, or a file of a certificate can't be read.
    pub fn new(config: NatsConfig) -> Result<Self, BrokerConfigError> {
        let config = config.checked()?;
        config.endpoint.check_files()?;
        Ok(Self {
            link: Link::new(config.endpoint.clone(), config.max_in_flight),
            in_flight: Semaphore::new(config.max_in_flight),
            checked: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            learned: Mutex::default(),
            config,
        })
    }

    /// Publishes at most as many as may be in flight.
    async fn publish_window(&self, window: &[OutboxMessage], deadline: Instant) -> Vec<PublishResult> {
        let batch = Batch { messages: window, envelope: &self.config.envelope };
        let wanted = u32::try_from(window.len()).unwrap_or(u32::MAX);
        let Ok(permits) = timeout_at(deadline, self.in_flight.acquire_many(wanted)).await else {
            return batch.unsent(|| publish_error(Failure::NotSent));
        };
        let Ok(_permits) = permits else {
            return batch.unsent(|| publish_error(Failure::Closed));
        };
        match timeout_at(deadline, self.ready()).await {
            Ok(Ok(connection)) => self.send(batch, &connection, deadline).await,
            Ok(Err(error)) => batch.unsent(|| PublishError::new(error.kind(), error.to_string())),
            Err(_) => {
                let text = format!("{}: timed out", self.config.endpoint.addresses());
                batch.unsent(|| publish_error(Failure::Unreachable(text.clone())))
            }
        }
    }

    async fn send(&self, batch: Batch<'_>, connection: &Connection, deadline: Instant) -> Vec<PublishResult> {
        let mut outcome = batch.send(connection, deadline).await;
        if !outcome.untaken.is_empty() && batch.explain(&mut outcome, connection, deadline).await {
            // Ours may have been deleted: the next call creates it again.
            self.checked.store(false, Ordering::Release);
        }
        outcome.results
    }

    /// The connection, with the stream behind it if that is ours to create.
    async fn ready(&self) -> Result<Arc<Connection>, PublishError> {
        let connection = self.connection().await?;
        if self.config.create && !self.checked.load(Ordering::Acquire) {
            self.check_stream(&connection).await?;
        }
        Ok(connection)
    }

    async fn connection(&self) -> Result<Arc<Connection>, PublishError> {
        let connection = self.link.connection().await.map_err(Failure::from).map_err(publish_error)?;
        self.learn(|learned| learned.max_payload = Some(connection.client.max_payload()));
        Ok(connection)
    }

    async fn check_stream(&self, connection: &Connection) -> Result<(), PublishError> {
        let stream = stream::check(&connection.jetstream, &self.config).await?;
        self.checked.store(true, Ordering::Release);
        if let Some(stream) = stream {
            self.learn(|learned| learned.dedup_window = Some(stream.duplicate_window));
            // A health check comes every few seconds.
            if !self.warned.swap(true, Ordering::Relaxed) {
                stream::warn(&stream);
            }
        }
        Ok(())
    }

    fn learn(&self, change: impl FnOnce(&mut Learned)) {
        change(&mut self.learned.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[async_trait]
impl Transport for NatsTransport {
    fn capabilities(&self) -> TransportCapabilities {
        let learned = *self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        // A stream refuses one message and takes the next one: there is no order in a batch.
        TransportCapabilities::new("nats")
            .pipelined_order(false)
            .max_batch(Self::MAX_BATCH.min(self.config.max_in_flight))
            .max_in_flight(self.config.max_in_flight)
            .max_payload(learned.max_payload)
            .dedup_window(Some(learned.dedup_window.unwrap_or(NatsConfig::DUPLICATE_WINDOW)))
            .max_send_time(self.config.publish_timeout)
            .durability("`storage file`, `replicas 3`, `discard new`; `sync_interval: always` on the servers")
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
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
        let check = async { self.check_stream(&*self.connection().await?).await };
        match timeout(self.config.publish_timeout, check).await {
            Ok(result) => result,
            Err(_) => Err(publish_error(Failure::CheckTimedOut)),
        }
    }

    async fn diagnose(&self, topics: &[Topic]) -> Vec<Finding> {
        if self.closed.load(Ordering::Acquire) {
            return vec![diagnose::unreachable(&publish_error(Failure::Closed).to_string())];
        }
        let connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => return vec![diagnose::unreachable(&error.to_string())],
        };
        let patience = self.config.publish_timeout * 2;
        match timeout(patience, diagnose::run(&connection, &self.config, topics)).await {
            Ok(findings) => findings,
            Err(_) => vec![diagnose::unreachable(&publish_error(Failure::CheckTimedOut).to_string())],
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

impl fmt::Debug for NatsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsTransport").field("config", &self.config).finish_non_exhaustive()
    }
}
