use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outbox_core::{BrokerConfigError, PublishError};
use tokio::sync::Mutex;

use crate::KafkaConfig;
use crate::error::{Failure, client_error, publish_error};
use crate::producer::Producer;

/// The way to the brokers: at most one producer that takes records, replaced when it has ended.
pub(crate) struct Link {
    config: KafkaConfig,
    producer: Mutex<Arc<Producer>>,
    /// Bytes of a batch at most, as far as was learned.
    batch_bytes: AtomicUsize,
}

impl Link {
    /// The first producer: librdkafka checks the configuration, and connects behind the scenes.
    pub(crate) fn new(config: KafkaConfig) -> Result<Self, BrokerConfigError> {
        let batch_bytes = config.batch_limit();
        let producer = start(&config, batch_bytes).map_err(client_error)?;
        Ok(Self {
            producer: Mutex::new(Arc::new(producer)),
            batch_bytes: AtomicUsize::new(batch_bytes),
            config,
        })
    }

    /// The producer, or a new one if it has ended: not before the old one is gone, so that nothing of it can arrive
    /// behind what is sent from now on.
    pub(crate) async fn producer(&self) -> Result<Arc<Producer>, PublishError> {
        let mut current = self.producer.lock().await;
        if !current.is_up() {
            current.end().await;
            let batch_bytes = self.batch_bytes.load(Ordering::Acquire);
            let next = start(&self.config, batch_bytes);
            let next = next.map_err(|error| publish_error(Failure::NoClient(client_error(error))))?;
            *current = Arc::new(next);
        }
        Ok(current.clone())
    }

    /// Returns when the producer is gone, if it has ended; ends it in any case if that is asked for.
    ///
    /// Not otherwise: when several calls end with an unknown outcome, each resets, and the second must not end the
    /// fresh producer that has taken the place of the first.
    pub(crate) async fn cut(&self, in_any_case: bool) {
        let current = self.producer.lock().await;
        if in_any_case || !current.is_up() {
            current.end().await;
        }
    }

    /// A broker has refused a batch that this producer made of several records: the next one makes smaller ones.
    pub(crate) fn refused(&self, producer: &Producer) {
        let smaller = (producer.batch_bytes / 4).max(1);
        if self.batch_bytes.fetch_min(smaller, Ordering::AcqRel) > smaller {
            tracing::warn!(
                "a Kafka broker refused a batch as too large: batches have at most {smaller} bytes from now on \
                 (set batch_bytes to the smallest max.message.bytes of the topics)"
            );
            producer.stop();
        }
    }
}

fn start(config: &KafkaConfig, batch_bytes: usize) -> rdkafka::error::KafkaResult<Producer> {
    Producer::start(&config.producer(batch_bytes), config.cluster.servers(), batch_bytes)
}
