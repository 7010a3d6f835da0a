use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    BrokerConfigError, Finding, OutboxMessage, PublishError, Topic, Transport, TransportCapabilities,
};
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use crate::KafkaConfig;
use crate::batch::{Batch, PublishResult};
use crate::codec::is_topic;
use crate::diagnose;
use crate::error::{Failure, publish_error};
use crate::link::Link;
use crate::topics::{self, Topics};

/// Publishes to Kafka. See the [crate] for what goes where.
///
/// librdkafka connects behind the scenes, again and again; a broker that is down is an error of a call, never of the
/// construction.
pub struct KafkaTransport {
    config: KafkaConfig,
    link: Link,
    topics: Topics,
    in_flight: Semaphore,
    closed: AtomicBool,
}

impl KafkaTransport {
    /// Messages in one call at most.
    const MAX_BATCH: usize = 500;

    /// A transport from a URL; `KafkaConfig` has the list of its parameters. Tries once to reach the brokers, and only
    /// logs if that fails: they may come up later.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the URL is wrong; never because of the brokers.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn connect(url: &str) -> Result<Self, BrokerConfigError> {
        let transport = Self::new(url.parse()?)?;
        if let Err(error) = transport.check().await {
            tracing::warn!("the Kafka transport is not ready yet: {error}");
        }
        Ok(transport)
    }

    /// A transport that does not wait for a connection before it has something to do.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if a value is out of its range, or librdkafka refuses it: a codec that it was built
    /// without, a file with certificates that can't be read.
    pub fn new(config: KafkaConfig) -> Result<Self, BrokerConfigError> {
        let config = config.checked()?;
        Ok(Self {
            link: Link::new(config.clone())?,
            topics: Topics::new(config.cluster.clone(), config.creation),
            in_flight: Semaphore::new(config.max_in_flight),
            closed: AtomicBool::new(false),
            config,
        })
    }

    /// Publishes at most as many as may be in flight.
    async fn publish_window(&self, window: &[OutboxMessage], deadline: Instant) -> Vec<PublishResult> {
        let mut batch = Batch::encode(window, &self.config.envelope);
        let wanted = u32::try_from(batch.sendable()).unwrap_or(u32::MAX);
        if wanted == 0 {
            return batch.unsent(|| publish_error(Failure::NotSent));
        }
        let Ok(permits) = timeout_at(deadline, self.in_flight.acquire_many(wanted)).await else {
            return batch.unsent(|| publish_error(Failure::NotSent));
        };
        let Ok(_permits) = permits else {
            return batch.unsent(|| publish_error(Failure::Closed));
        };
        let producer = match timeout_at(deadline, self.link.producer()).await {
            Ok(Ok(producer)) => producer,
            Ok(Err(error)) => return batch.unsent(|| PublishError::new(error.kind(), error.to_string())),
            Err(_) => return batch.unsent(|| publish_error(Failure::Lost)),
        };
        let bad = self.topics.look(&producer, batch.topics(), deadline.into_std()).await;
        batch.refuse(&bad);
        batch.send(&producer, &self.link, &self.topics, deadline).await
    }

    /// What the brokers say about these topics.
    async fn answers(&self, topics: &[Topic]) -> Vec<(Topic, Result<Metadata, PublishError>)> {
        let mut answers = Vec::with_capacity(topics.len());
        for topic in topics {
            let answer = match is_topic(topic.as_str()) {
                true => self.metadata(Some(topic.as_str().to_owned())).await,
                false => Err(publish_error(Failure::IllegalTopic(topic.as_str()))),
            };
            answers.push((topic.clone(), answer));
        }
        answers
    }

    async fn metadata(&self, topic: Option<String>) -> Result<Metadata, PublishError> {
        let producer = self.link.producer().await?;
        let client = producer.client();
        let patience = self.config.cluster.connect_timeout.min(self.config.publish_timeout);
        let deadline = std::time::Instant::now() + patience;
        let asked = spawn_blocking(move || topics::metadata(&client, topic.as_deref(), deadline)).await;
        let answer = asked.unwrap_or(Err(RDKafkaErrorCode::Fail));
        answer.map_err(|code| self.topics.unreachable(producer.health(), code))
    }
}

#[async_trait]
impl Transport for KafkaTransport {
    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::new("kafka")
            .durability(
                "`replication.factor=3`, `min.insync.replicas=2`, `unclean.leader.election.enable=false`",
            )
            .pipelined_order(self.config.gapless)
            .max_batch(Self::MAX_BATCH.min(self.config.max_in_flight))
            .max_in_flight(self.config.max_in_flight)
            .max_send_time(self.config.publish_timeout)
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        let deadline = Instant::now() + self.config.publish_timeout;
        let mut results = Vec::with_capacity(batch.len());
        for window in batch.chunks(self.config.max_in_flight) {
            // Only for callers that pass more than the capabilities say: what follows a failure waits, whatever its key.
            if results.iter().any(PublishResult::is_err) {
                results.extend(window.iter().map(|_| Err(publish_error(Failure::NotSent))));
            } else {
                results.extend(self.publish_window(window, deadline).await);
            }
        }
        results
    }

    async fn check(&self) -> Result<(), PublishError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(publish_error(Failure::Closed));
        }
        self.metadata(self.topics.any()).await.map(drop)
    }

    async fn diagnose(&self, topics: &[Topic]) -> Vec<Finding> {
        let reached = self.check().await;
        let patience = self.config.cluster.connect_timeout;
        let answers = match &reached {
            Ok(()) => self.answers(topics).await,
            Err(_) => Vec::new(),
        };
        diagnose::findings(reached, answers, &self.config.cluster.client_config(), patience).await
    }

    async fn reset(&self) {
        self.link.cut(false).await;
    }

    async fn close(&self, time: Duration) -> Result<(), PublishError> {
        self.closed.store(true, Ordering::Release);
        let all = u32::try_from(self.config.max_in_flight).unwrap_or(u32::MAX);
        // Whoever waits for a report keeps its permits, so there is nothing left to flush afterwards.
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

impl fmt::Debug for KafkaTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTransport").field("config", &self.config).finish_non_exhaustive()
    }
}
