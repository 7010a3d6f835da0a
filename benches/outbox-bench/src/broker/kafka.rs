use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use outbox_core::{EnvelopeNames, Transport};
use outbox_kafka::KafkaTransport;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use tokio::sync::{mpsc, watch};

use super::bare::{Awaited, Bare, Page, Range, Record};
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
struct Counting(watch::Sender<Answers>);

#[derive(Debug, Clone, Copy, Default)]
struct Answers {
    delivered: usize,
    failed: bool,
}

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = Arc<Awaited>;

    fn delivery(&self, result: &DeliveryResult<'_>, _awaited: Arc<Awaited>) {
        self.0.send_modify(|answers| match result {
            Ok(_) => answers.delivered += 1,
            Err(_) => answers.failed = true,
        });
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

    async fn bare(&self, topic: &str, window: usize, carried: Carried) -> Result<Box<dyn Bare>> {
        let (answers, answered) = watch::channel(Answers::default());
        let mut config = Self::config();
        config.set("enable.idempotence", "true").set("linger.ms", "1").set("partitioner", "murmur2_random");
        let producer: ThreadedProducer<Counting> = config.create_with_context(Counting(answers))?;
        Ok(Box::new(Client { producer, answered, sent: 0, topic: topic.to_owned(), window, carried }))
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        let admin: AdminClient<_> = Self::config().create()?;
        admin.delete_topics(&[topic], &AdminOptions::new()).await?;
        Ok(())
    }
}

struct Client {
    producer: ThreadedProducer<Counting>,
    answered: watch::Receiver<Answers>,
    sent: usize,
    topic: String,
    window: usize,
    carried: Carried,
}

impl Client {
    /// Hands a message to the producer.
    async fn send(&mut self, record: &Record, awaited: &Arc<Awaited>) -> Result<()> {
        let id = record.id.to_string();
        let time = record.time(self.carried);
        let mut headers = OwnedHeaders::new_with_capacity(8);
        for (key, value) in record.headers(self.carried, &EnvelopeNames::UNDERSCORE, &id, &time) {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record = BaseRecord::with_opaque_to(&self.topic, Arc::clone(awaited))
            .key(&record.key)
            .payload(&record.payload[..])
            .headers(headers);
        while let Err((error, again)) = self.producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            record = again;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.sent += 1;
        Ok(())
    }

    /// Waits until at most so many messages are under way.
    async fn at_most(&mut self, under_way: usize) -> Result<()> {
        let enough = self.sent.saturating_sub(under_way);
        let answers =
            *self.answered.wait_for(|answers| answers.failed || answers.delivered >= enough).await?;
        ensure!(!answers.failed, "a message was not delivered");
        Ok(())
    }
}

#[async_trait]
impl Bare for Client {
    async fn publish(
        &mut self,
        mut pages: mpsc::Receiver<Page>,
        done: mpsc::UnboundedSender<Range>,
    ) -> Result<()> {
        while let Some(page) = pages.recv().await {
            let (records, awaited) = page.open(&done);
            for records in records.chunks(100) {
                self.at_most(self.window.saturating_sub(records.len())).await?;
                for record in records {
                    self.send(record, &awaited).await?;
                }
            }
        }
        self.at_most(0).await
    }
}
