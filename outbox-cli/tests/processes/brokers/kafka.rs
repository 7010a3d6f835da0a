use std::collections::HashMap;
use std::time::Duration;

use outbox_conformance::servers::Server;
use outbox_conformance::started;
use outbox_conformance::transport_suite::BrokerProcess as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;

use super::{Broker, Received, TOPICS, runtime};

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that speaks Kafka's protocol, and a plain client.
pub(crate) struct Kafka {
    server: Server,
    runtime: Runtime,
}

impl Kafka {
    /// `None`, with a printed line, if there is no `tansu` here.
    pub(crate) fn start() -> Option<Self> {
        let runtime = runtime();
        let server = runtime.block_on(Server::kafka_in_memory(None));
        Self::with(runtime, server)
    }

    /// One whose messages survive a kill.
    pub(crate) fn durable() -> Option<Self> {
        let runtime = runtime();
        let server = runtime.block_on(Server::kafka(None));
        Self::with(runtime, server)
    }

    fn with(runtime: Runtime, server: Option<Server>) -> Option<Self> {
        let kafka = Self { server: started("Kafka (tansu)", server)?, runtime };
        kafka.runtime.block_on(async {
            let admin: AdminClient<_> = kafka.client().create().unwrap();
            let topics: Vec<_> = TOPICS
                .iter()
                .map(|topic| NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1)))
                .collect();
            for created in admin.create_topics(&topics, &AdminOptions::new()).await.unwrap() {
                created.unwrap();
            }
        });
        Some(kafka)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", self.server.port()));
        config
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest");
        config
    }

    fn ends(&self, consumer: &BaseConsumer) -> HashMap<(&'static str, i32), i64> {
        let partitions =
            TOPICS.iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (*topic, partition)));
        partitions
            .map(|(topic, partition)| {
                let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
                ((topic, partition), end)
            })
            .collect()
    }
}

impl Broker for Kafka {
    fn name(&self) -> &'static str {
        "Kafka"
    }

    fn transport(&self) -> String {
        format!("kafka://127.0.0.1:{}", self.server.port())
    }

    fn burst(&self) -> u64 {
        // What its file takes a minute to read.
        600
    }

    fn kill(&self) {
        self.runtime.block_on(self.server.kill());
    }

    fn restart(&self) {
        self.runtime.block_on(self.server.start());
    }

    fn stored(&self) -> u64 {
        let consumer: BaseConsumer = self.client().create().unwrap();
        self.ends(&consumer).values().sum::<i64>().unsigned_abs()
    }

    fn read_all(&self) -> Vec<Received> {
        let mut config = self.client();
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
        // What tansu calls the last stable offset lags behind.
        config.set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = config.create().unwrap();
        let ends = self.ends(&consumer);
        let mut assignment = TopicPartitionList::new();
        for (topic, partition) in ends.keys() {
            assignment.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&assignment).unwrap();
        let mut all = Vec::new();
        // Where the end is, is known only by reading up to it: tansu counts its last batch as one record.
        let mut left = ends.len();
        while left > 0 {
            let polled = consumer.poll(PATIENCE);
            match polled.unwrap_or_else(|| {
                panic!("{left} partitions are not at their end after {} messages", all.len())
            }) {
                Ok(message) => all.push(of(&message)),
                Err(KafkaError::PartitionEOF(_)) => left -= 1,
                Err(error) => panic!("{error}"),
            }
        }
        all
    }
}

fn of(message: &BorrowedMessage<'_>) -> Received {
    let header = |name: &str| {
        let found = message.headers()?.iter().find(|header| header.key == name)?;
        Some(String::from_utf8_lossy(found.value?).into_owned())
    };
    Received {
        id: header("ce_id").unwrap_or_default().replace('-', ""),
        topic: message.topic().to_owned(),
        key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}
