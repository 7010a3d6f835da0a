use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use outbox_conformance::servers::Server;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;

use super::{Broker, REDELIVER_AFTER, TOPICS};
use crate::actors::{CONSUMER, VERSION};
use crate::check::history::Received;

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Kafka {
    server: Server,
}

impl Kafka {
    pub(super) async fn start(advertised: u16) -> Result<Self> {
        let server = Server::kafka_in_memory(Some(advertised)).await;
        Ok(Self { server: server.context("tansu, which speaks Kafka's protocol, is not installed")? })
    }

    /// By the address that it tells its clients, since they go there in any case.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", self.server.port()));
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config.set("group.id", "reader").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
        // What tansu calls the last stable offset lags behind.
        config.set("isolation.level", "read_uncommitted");
        config
    }
}

#[async_trait]
impl Broker for Kafka {
    fn server(&self) -> &Server {
        &self.server
    }

    async fn prepare(&self) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let dead = format!("{CONSUMER}.dead");
        let topics = TOPICS.iter().copied().chain([dead.as_str()]);
        let topics: Vec<_> =
            topics.map(|topic| NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1))).collect();
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        for created in admin.create_topics(&topics, &options).await? {
            if let Err((topic, code)) = created {
                bail!("topic {topic}: {code}");
            }
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let config = self.client();
        let asked = spawn_blocking(move || {
            let client: BaseConsumer = config.create().ok()?;
            client.fetch_metadata(None, Duration::from_secs(2)).ok().map(drop)
        });
        matches!(asked.await, Ok(Some(())))
    }

    /// One record in each batch: tansu in memory does not find the rest of a batch that a consumer has read half of.
    fn transport(&self, port: u16) -> String {
        format!("kafka://127.0.0.1:{port}?publish_timeout=1500ms&batch_bytes=1")
    }

    fn subscription(&self, port: u16) -> String {
        let topics = TOPICS.join(",");
        // Brokers take nothing shorter.
        let redeliver = REDELIVER_AFTER.max(Duration::from_secs(6)).as_millis();
        format!(
            "kafka://127.0.0.1:{port}?create=true&partitions={PARTITIONS}&group={CONSUMER}&topics={topics}\
             &redeliver_after={redeliver}ms"
        )
    }

    async fn read_all(&self) -> Result<Vec<Received>> {
        let config = self.client();
        let mut all = Vec::new();
        for topic in TOPICS {
            let config = config.clone();
            all.extend(spawn_blocking(move || read(&config, topic)).await??);
        }
        Ok(all)
    }

    async fn dead_letters(&self) -> Result<usize> {
        let config = self.client();
        let topic = format!("{CONSUMER}.dead");
        Ok(spawn_blocking(move || read(&config, &topic)).await??.len())
    }
}

/// Everything in a topic.
fn read(config: &ClientConfig, topic: &str) -> Result<Vec<Received>> {
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let (mut all, mut left) = (Vec::new(), PARTITIONS);
    // Where the end is, is known only by reading up to it: tansu counts its last batch as one record.
    while left > 0 {
        match consumer.poll(PATIENCE).context("a partition has no end")? {
            Ok(message) => all.push(received(&message)),
            Err(KafkaError::PartitionEOF(_)) => left -= 1,
            Err(error) => bail!("the reader of Kafka: {error}"),
        }
    }
    Ok(all)
}

fn received(message: &BorrowedMessage<'_>) -> Received {
    let header = |name: &str| {
        let found = message.headers()?.iter().find(|header| header.key == name)?;
        Some(String::from_utf8_lossy(found.value?).into_owned())
    };
    Received {
        log: format!("{}/{}", message.topic(), message.partition()),
        id: header("ce_id").unwrap_or_default().replace('-', ""),
        topic: message.topic().to_owned(),
        account: message.key().map(|key| String::from_utf8_lossy(key).into_owned()),
        version: header(VERSION).unwrap_or_default(),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}
