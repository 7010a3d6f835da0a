use std::time::Duration;

use async_trait::async_trait;
use outbox_conformance::servers::Server;
use outbox_conformance::started;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;

use super::{Broker, DeadLetter, TOPIC};
use crate::worker::CONSUMER;
use crate::world::Member;

/// A broker of its own that speaks Kafka's protocol.
pub(crate) struct Kafka {
    servers: String,
    _server: Option<Server>,
}

pub(crate) async fn kafka() -> Option<Kafka> {
    let server = started("Kafka (tansu)", Server::kafka_in_memory(None).await)?;
    Some(Kafka { servers: format!("127.0.0.1:{}", server.port()), _server: Some(server) })
}

/// One that somebody else has started, with its topics.
pub(crate) fn kafka_at(servers: String) -> Kafka {
    Kafka { servers, _server: None }
}

pub(crate) const PARTITIONS: i32 = 4;

#[async_trait]
impl Broker for Kafka {
    fn name(&self) -> &'static str {
        "Kafka"
    }

    /// One record in each batch: tansu in memory does not find the rest of a batch that a consumer has read half of.
    fn transport(&self) -> String {
        format!("kafka://{}?create=true&partitions={PARTITIONS}&batch_bytes=1", self.servers)
    }

    fn subscription(&self) -> String {
        let Self { servers, .. } = self;
        format!("kafka://{servers}?create=true&partitions={PARTITIONS}&group={CONSUMER}&topics={TOPIC}")
    }

    /// Brokers take nothing shorter.
    fn redeliver_after(&self, member: Member) -> Duration {
        member.redeliver_after.max(Duration::from_secs(6))
    }

    fn keeps_order_across_crashes(&self) -> bool {
        true
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        let servers = self.servers.clone();
        spawn_blocking(move || read_all(&servers, &format!("{CONSUMER}.dead"))).await.unwrap()
    }
}

/// Everything in a topic, which need not exist.
fn read_all(servers: &str, topic: &str) -> Vec<DeadLetter> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set_log_level(RDKafkaLogLevel::Emerg);
    config.set("group.id", "reader").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.set("fetch.wait.max.ms", "10");
    // What tansu calls the last stable offset lags behind.
    config.set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions =
        metadata.topics().iter().filter(|found| found.name() == topic && found.error().is_none());
    let mut assignment = TopicPartitionList::new();
    for partition in partitions.flat_map(|found| found.partitions()) {
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut found, mut left) = (Vec::new(), assignment.count());
    // Where the end is, is known only by reading up to it: tansu counts its last batch as one record.
    while left > 0 {
        match consumer.poll(PATIENCE).expect("the end of a partition") {
            Ok(message) => found.push(dead_letter(&message)),
            Err(KafkaError::PartitionEOF(_)) => left -= 1,
            Err(error) => panic!("{error}"),
        }
    }
    found
}

fn dead_letter(message: &BorrowedMessage<'_>) -> DeadLetter {
    let header = |name: &str| {
        let found = message.headers()?.iter().find(|header| header.key == name)?;
        Some(String::from_utf8_lossy(found.value?).into_owned())
    };
    let header = |name| header(name).unwrap_or_default();
    DeadLetter {
        id: header("ce_id"),
        reason: header("outbox-dead-reason"),
        group: header("outbox-dead-group"),
        topic: header("outbox-dead-topic"),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}
