use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lapin::Channel;
use outbox_core::{
    BrokerConfigError, Finding, OutboxMessage, PublishError, Topic, Transport, TransportCapabilities,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use crate::codec::{self, Record};
use crate::connection::Connection;
use crate::error::{Failure, publish_error};
use crate::link::Link;
use crate::{AmqpConfig, diagnose, topology, window};

/// Publishes to an exchange of RabbitMQ. See the [crate] for what goes where.
///
/// The connection is opened by the first call that needs it, and opened anew after it was lost; a broker that is down is
/// an error of that call, never of the construction.
pub struct AmqpTransport {
    config: AmqpConfig,
    link: Link,
    /// One for each window that may be under way.
    windows: Semaphore,
    closed: AtomicBool,
}

type PublishResult = Result<(), PublishError>;

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
        let config = config.checked()?;
        let tls = config.endpoint.tls_files()?;
        Ok(Self {
            link: Link::new(config.endpoint.clone(), tls),
            windows: Semaphore::new(config.channels),
            closed: AtomicBool::new(false),
            config,
        })
    }

    async fn publish_window(&self, messages: &[OutboxMessage], deadline: Instant) -> Vec<PublishResult> {
        let all = |error: PublishError| {
            let text = error.to_string();
            messages.iter().map(|_| Err(PublishError::new(error.kind(), text.clone()))).collect::<Vec<_>>()
        };
        let permit: SemaphorePermit<'_> = match timeout_at(deadline, self.windows.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return all(publish_error(Failure::Closed)),
            Err(_) => return all(publish_error(Failure::NotSent)),
        };
        let connection = match timeout_at(deadline, self.connection()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return all(error),
            Err(_) => {
                let text = format!("{}: timed out", self.config.endpoint.addresses());
                return all(publish_error(Failure::Unreachable(&text)));
            }
        };
        let frame = connection.frame_max();
        let encode = |message| codec::encode(message, &self.config.envelope, frame);
        let encoded: Vec<Result<Record, PublishError>> = messages
            .iter()
            .map(|message| encode(message).map_err(|error| publish_error(Failure::Unencodable(error))))
            .collect();
        if encoded.iter().all(Result::is_err) {
            return encoded.into_iter().map(|record| record.map(drop)).collect();
        }
        let results = self.send(&connection, encoded, deadline).await;
        drop(permit);
        results
    }

    async fn send(
        &self,
        connection: &Arc<Connection>,
        encoded: Vec<Result<Record, PublishError>>,
        deadline: Instant,
    ) -> Vec<PublishResult> {
        let unsent = |encoded: Vec<Result<Record, PublishError>>, error: PublishError| {
            let text = error.to_string();
            let one = |record: Result<Record, PublishError>| {
                record.and_then(|_| Err(PublishError::new(error.kind(), text.clone())))
            };
            encoded.into_iter().map(one).collect::<Vec<_>>()
        };
        let channel = match timeout_at(deadline, self.ready(connection, &encoded)).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => {
                let exchange = &self.config.exchange;
                return unsent(encoded, publish_error(Failure::NotReady { error: &error, exchange }));
            }
            Err(_) => return unsent(encoded, publish_error(Failure::NotSent)),
        };
        // A call that is dropped half-way leaves messages behind that nobody waits for.
        let mut doubt = Doubt { connection, cleared: false };
        let mut results: Vec<Option<PublishResult>> = Vec::with_capacity(encoded.len());
        let mut records = Vec::with_capacity(encoded.len());
        for record in encoded {
            match record {
                Ok(record) => {
                    records.push(record);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let outcome = window::publish(&channel, records, &self.config, deadline).await;
        doubt.cleared = outcome.certain;
        if outcome.certain {
            connection.give_back(channel);
        }
        let mut sent = outcome.results.into_iter();
        let lost = || Err(publish_error(Failure::NoAnswer));
        results.into_iter().map(|result| result.unwrap_or_else(|| sent.next().unwrap_or_else(lost))).collect()
    }

    /// A channel, with the exchange or the queues behind it.
    async fn ready(
        &self,
        connection: &Connection,
        records: &[Result<Record, PublishError>],
    ) -> lapin::Result<Channel> {
        let AmqpConfig { exchange, create, queue_type, .. } = &self.config;
        let fresh = async |channel: &Channel| topology::exchange(channel, exchange, *create).await;
        let mut channel = match connection.channel(fresh).await {
            // It exists with other settings, and is left as it is.
            Err(error) if topology::is_different(&error) => connection.channel(async |_| Ok(())).await?,
            other => other?,
        };
        if *create && exchange.is_empty() {
            for topic in undeclared(connection, records) {
                match topology::queue(&channel, &topic, *queue_type).await {
                    // The same, and the question has cost the channel.
                    Err(error) if topology::is_different(&error) => {
                        channel = connection.channel(async |_| Ok(())).await?;
                    }
                    other => drop(other?),
                }
                connection.declared.lock().unwrap_or_else(PoisonError::into_inner).insert(topic);
            }
        }
        Ok(channel)
    }

    /// A connection that takes messages.
    async fn connection(&self) -> Result<Arc<Connection>, PublishError> {
        let connection = self.link.connection().await;
        let connection = connection.map_err(|text| publish_error(Failure::Unreachable(&text)))?;
        if connection.is_blocked() {
            // They would wait in the client until the alarm is over, whoever has given up by then.
            return Err(publish_error(Failure::Blocked));
        }
        Ok(connection)
    }

    async fn look(&self) -> Result<(), PublishError> {
        let connection = self.connection().await?;
        let exchange = &self.config.exchange;
        let ready = self.ready(&connection, &[]).await;
        let channel = ready.map_err(|error| publish_error(Failure::NotReady { error: &error, exchange }))?;
        // Also one that was idle: the exchange may have been deleted since.
        let found = topology::exchange(&channel, exchange, false).await;
        found.map_err(|error| publish_error(Failure::NotReady { error: &error, exchange }))?;
        connection.give_back(channel);
        Ok(())
    }
}

/// Topics whose queue was not declared on this connection yet.
fn undeclared(connection: &Connection, records: &[Result<Record, PublishError>]) -> Vec<String> {
    let declared = connection.declared.lock().unwrap_or_else(PoisonError::into_inner);
    let mut topics = Vec::new();
    for record in records.iter().flatten() {
        let topic = record.routing_key.as_str();
        if !declared.contains(topic) && !topics.iter().any(|known: &String| known == topic) {
            topics.push(topic.to_owned());
        }
    }
    topics
}

#[async_trait]
impl Transport for AmqpTransport {
    fn capabilities(&self) -> TransportCapabilities {
        // The broker returns or refuses one message and takes the next one: there is no order in a batch.
        TransportCapabilities::new("amqp")
            .pipelined_order(false)
            .max_batch(self.config.window())
            .max_in_flight(self.config.window() * self.config.channels)
            .max_send_time(self.config.publish_timeout)
            .durability("durable queues, quorum queues in a cluster; `overflow=reject-publish` where their length is limited")
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<PublishResult> {
        let deadline = Instant::now() + self.config.publish_timeout;
        let mut results = Vec::with_capacity(batch.len());
        for messages in batch.chunks(self.config.window()) {
            results.extend(self.publish_window(messages, deadline).await);
        }
        results
    }

    async fn check(&self) -> Result<(), PublishError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(publish_error(Failure::Closed));
        }
        match timeout(self.config.publish_timeout, self.look()).await {
            Ok(result) => result,
            Err(_) => Err(publish_error(Failure::CheckTimedOut)),
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
        let all = u32::try_from(self.config.channels).unwrap_or(u32::MAX);
        let finished = timeout(time, self.windows.acquire_many(all)).await.is_ok();
        let windows = self.config.channels - self.windows.available_permits();
        self.windows.close();
        self.link.cut(true).await;
        if finished {
            return Ok(());
        }
        Err(publish_error(Failure::CloseTimedOut { unconfirmed: windows * self.config.window() }))
    }
}

impl fmt::Debug for AmqpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpTransport").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Marks the connection as doubtful when it is dropped, unless it was cleared.
struct Doubt<'a> {
    connection: &'a Connection,
    cleared: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.cleared {
            self.connection.doubt();
        }
    }
}
