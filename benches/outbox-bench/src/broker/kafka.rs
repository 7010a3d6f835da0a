use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use async_trait::async_trait;
use outbox_core::{EnvelopeNames, OutboxMessage, Transport};
use outbox_kafka::KafkaTransport;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use tokio::sync::watch;

use super::{Broker, Carried, unique, url};

pub(crate) struct Kafka;

impl Kafka {
    fn url() -> String {
        url("OUTBOX_TEST_KAFKA_URL", "kafka://127.0.0.1:9092")
    }

    fn config() -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", Self::url().trim_start_matches("kafka://"));
        config
    }
}

/// Counts what was delivered.
struct Counting(watch::Sender<usize>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.send_modify(|count| *count += 1);
        }
    }
}

#[async_trait]
impl Broker for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    async fn topic(&self) -> Result<String> {
        let topic = unique();
        let admin: AdminClient<_> = Self::config().create()?;
        let new = NewTopic::new(&topic, 3, TopicReplication::Fixed(1));
        for created in admin.create_topics([&new], &AdminOptions::new()).await? {
            if let Err((topic, code)) = created {
                bail!("{topic}: {code}");
            }
        }
        Ok(topic)
    }

    async fn transport(&self, _topic: &str, carried: Carried) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(KafkaTransport::connect(&format!("{}?{}", Self::url(), carried.parameter())).await?))
    }

    async fn raw(
        &self,
        topic: &str,
        messages: &[OutboxMessage],
        window: usize,
        carried: Carried,
    ) -> Result<Duration> {
        let (sender, mut delivered) = watch::channel(0);
        let mut config = Self::config();
        config.set("enable.idempotence", "true").set("linger.ms", "1").set("partitioner", "murmur2_random");
        let producer: ThreadedProducer<Counting> = config.create_with_context(Counting(sender))?;
        let (first, messages) = messages.split_at(1);
        send(&producer, topic, &first[0], carried).await?;
        delivered.wait_for(|count| *count == 1).await?;
        let started = Instant::now();
        for (sent, message) in messages.iter().enumerate() {
            if sent.is_multiple_of(100) {
                delivered.wait_for(|count| 1 + sent - count < window).await?;
            }
            send(&producer, topic, message, carried).await?;
        }
        delivered.wait_for(|count| *count == 1 + messages.len()).await?;
        Ok(started.elapsed())
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        let admin: AdminClient<_> = Self::config().create()?;
        admin.delete_topics(&[topic], &AdminOptions::new()).await?;
        Ok(())
    }
}

/// Hands a message to the producer.
async fn send(
    producer: &ThreadedProducer<Counting>,
    topic: &str,
    message: &OutboxMessage,
    carried: Carried,
) -> Result<()> {
    let id = message.id().to_string();
    let mut headers = OwnedHeaders::new_with_capacity(8);
    for (key, value) in carried.headers(message, &EnvelopeNames::UNDERSCORE, &id) {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let key = message.ordering_key().map_or("", |key| key.as_str());
    let mut record = BaseRecord::to(topic).key(key).payload(&message.payload()[..]).headers(headers);
    while let Err((error, again)) = producer.send(record) {
        if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
            return Err(error.into());
        }
        record = again;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
