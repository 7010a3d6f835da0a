use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outbox_conformance::tls::TlsAddress;
use outbox_conformance::transport_suite::{BrokerProcess, Received, TransportFixture};
use outbox_core::Transport;
use outbox_kafka::{KafkaConfig, KafkaTransport};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, OwnedMessage};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

use crate::broker::PrivateBroker;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Topics of its own on the shared broker, or a broker of its own.
pub(crate) struct KafkaFixture {
    servers: String,
    name: String,
    transport: Arc<KafkaTransport>,
    broker: Option<PrivateBroker>,
    encrypted: tokio::sync::Mutex<Option<PrivateBroker>>,
}

pub(crate) fn shared_servers() -> String {
    let url = std::env::var("OUTBOX_TEST_KAFKA_URL").unwrap_or_else(|_| "kafka://127.0.0.1:9092".to_owned());
    let servers = url.strip_prefix("kafka://").unwrap_or(&url);
    servers.split(['?', '/']).next().unwrap().to_owned()
}

/// A plain client of librdkafka.
pub(crate) fn client_config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    config
}

/// A name that nobody else uses, for the first part of topics.
pub(crate) fn unique() -> String {
    format!("outbox_test_{}", Uuid::now_v7().simple())
}

pub(crate) async fn is_running(servers: &str) -> bool {
    let servers = servers.to_owned();
    let asked = spawn_blocking(move || {
        let client: BaseConsumer = client_config(&servers).create().unwrap();
        client.fetch_metadata(Some("outbox_test"), Duration::from_secs(2)).is_ok()
    });
    asked.await.unwrap()
}

fn admin(servers: &str) -> AdminClient<DefaultClientContext> {
    client_config(servers).create().unwrap()
}

pub(crate) async fn create_topic(servers: &str, name: &str, partitions: i32) {
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let created = admin(servers).create_topics([&topic], &options).await.unwrap();
    created.into_iter().for_each(|result| drop(result.unwrap()));
}

pub(crate) async fn delete_topics(servers: &str, names: &[&str]) {
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let _ = admin(servers).delete_topics(names, &options).await;
}

/// Everything in a topic, partition by partition, without a group.
pub(crate) async fn read_topic(servers: &str, topic: &str) -> Vec<OwnedMessage> {
    let (servers, topic) = (servers.to_owned(), topic.to_owned());
    spawn_blocking(move || read_blocking(&servers, &topic)).await.unwrap()
}

fn read_blocking(servers: &str, topic: &str) -> Vec<OwnedMessage> {
    let mut config = client_config(servers);
    config.set("group.id", "unused").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap();
    let found = metadata.topics().iter().find(|found| found.name() == topic).unwrap();
    let mut list = TopicPartitionList::new();
    let mut highs = BTreeMap::new();
    for partition in found.partitions() {
        let (_, high) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT).unwrap();
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        highs.insert(partition.id(), high);
    }
    consumer.assign(&list).unwrap();
    let mut messages = Vec::<OwnedMessage>::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    // tansu counts its last batch as one record, whatever it holds: the end is where nothing more comes.
    while !highs.is_empty() {
        assert!(Instant::now() < deadline, "{topic} was not read to {highs:?}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => messages.push(message.detach()),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let read =
                    messages.iter().filter(|message| message.partition() == partition).map(Message::offset);
                if read.max().map_or(0, |last| last + 1) >= highs.get(&partition).copied().unwrap_or(0) {
                    highs.remove(&partition);
                }
            }
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    messages.sort_by_key(|message| (message.partition(), message.offset()));
    messages
}

/// Reads the headers as the documentation of the crate describes them, without the crate.
fn received(message: &OwnedMessage) -> Received {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut all = BTreeMap::new();
    for header in message.headers().unwrap().iter() {
        let twice = all.insert(header.key.to_owned(), text(header.value.unwrap()));
        assert_eq!(twice, None, "{} is there twice", header.key);
    }
    let one = |name: &str| all.get(name).cloned();
    assert_eq!(one("ce_specversion").as_deref(), Some("1.0"));
    assert_eq!(one("ce_source").as_deref(), Some("outbox"));
    let ours = |name: &str| ["ce_", "outbox-", "content-type"].iter().any(|prefix| name.starts_with(prefix));
    Received {
        id: one("ce_id").unwrap(),
        key: message.key().map(text),
        event_type: one("ce_type").unwrap(),
        schema_version: one("outbox-schema-version").unwrap().parse().unwrap(),
        aggregate_type: one("outbox-aggregate-type"),
        aggregate_id: one("ce_subject"),
        correlation_id: one("ce_correlationid"),
        content_type: one("content-type").unwrap(),
        headers: all.iter().filter(|(name, _)| !ours(name)).map(|(n, v)| (n.clone(), v.clone())).collect(),
        payload: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
    }
}

/// The topics that the cases of the suite use.
const TOPICS: [&str; 26] = [
    "first", "second", "fields", "large", "empty", "full", "together", "mixed", "stopped", "twice",
    "dropped", "reset", "stray", "there", "sizes", "victim", "checked", "closing", "closed", "dead", "back",
    "late", "frozen", "killed", "marker", "tls",
];

impl KafkaFixture {
    async fn at(servers: String, broker: Option<PrivateBroker>, parameters: &str) -> Option<Self> {
        if !is_running(&servers).await {
            return None;
        }
        let name = unique();
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let names: Vec<String> = TOPICS.iter().map(|topic| format!("{name}.{topic}")).collect();
        // Several partitions, so that the order of a key does not come by itself.
        let topics: Vec<_> =
            names.iter().map(|name| NewTopic::new(name, 3, TopicReplication::Fixed(1))).collect();
        let created = admin(&servers).create_topics(&topics, &options).await.unwrap();
        created.into_iter().for_each(|result| drop(result.unwrap()));
        let transport = KafkaTransport::connect(&format!("kafka://{servers}?{parameters}")).await.unwrap();
        Some(Self {
            servers,
            name,
            transport: Arc::new(transport),
            broker,
            encrypted: tokio::sync::Mutex::default(),
        })
    }

    fn missing(&self) -> String {
        format!("{}.missing", self.name)
    }
}

#[async_trait]
impl TransportFixture for KafkaFixture {
    const OWN_BROKER: bool = true;

    async fn new() -> Option<Self> {
        Self::at(shared_servers(), None, "").await
    }

    async fn with_own_broker() -> Option<Self> {
        let broker = PrivateBroker::launch().await?;
        Self::at(broker.servers(), Some(broker), "publish_timeout=2s").await
    }

    fn transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    fn topic(&self, name: &str) -> String {
        assert!(TOPICS.contains(&name), "{name} is not among the topics of the fixture");
        format!("{}.{name}", self.name)
    }

    async fn read_back(&self, topic: &str) -> Vec<Received> {
        read_topic(&self.servers, topic).await.iter().map(received).collect()
    }

    fn unroutable_topic(&self) -> Option<String> {
        Some(self.missing())
    }

    async fn make_routable(&self, topic: &str) {
        create_topic(&self.servers, topic, 3).await;
    }

    fn oversized(&self) -> Option<usize> {
        // With key and headers it is too much, without them it is not.
        Some(1_048_500)
    }

    fn with_secret(secret: &str) -> Option<(Arc<dyn Transport>, Vec<String>)> {
        let mut texts = Vec::new();
        let url = format!("kafka://user:{secret}@127.0.0.1:1,localhost:1?connect_timeout=1s");
        let config: KafkaConfig = url.parse().unwrap();
        texts.push(format!("{config:?} {config:#?}"));
        let wrong = format!("{url}&nonsense=1").parse::<KafkaConfig>().unwrap_err();
        texts.push(format!("{wrong} {wrong:?}"));
        let refused = KafkaTransport::new(config.clone().user("user", format!("{secret}\0"))).unwrap_err();
        texts.push(format!("{refused} {refused:?}"));
        let transport = KafkaTransport::new(config).unwrap();
        texts.push(format!("{transport:?} {transport:#?}"));
        Some((Arc::new(transport), texts))
    }

    async fn tls_backend(&self, advertised: u16) -> Option<u16> {
        if !cfg!(feature = "tls") {
            return None;
        }
        let broker = PrivateBroker::advertised(Some(advertised)).await?;
        let port = broker.port();
        *self.encrypted.lock().await = Some(broker);
        Some(port)
    }

    fn over_tls(&self, address: &TlsAddress) -> Option<(Arc<dyn Transport>, String)> {
        let url = format!(
            "kafka://{}:{}?{}&create=true&publish_timeout=3s&connect_timeout=1s",
            address.host,
            address.port,
            address.parameters()
        );
        let transport = KafkaTransport::new(url.parse().unwrap()).unwrap();
        Some((Arc::new(transport), "encrypted".to_owned()))
    }

    fn broker(&self) -> Option<&dyn BrokerProcess> {
        self.broker.as_ref().map(|broker| broker as &dyn BrokerProcess)
    }

    async fn cleanup(&self) {
        if self.broker.is_none() {
            let mut names: Vec<String> =
                TOPICS.iter().map(|topic| format!("{}.{topic}", self.name)).collect();
            names.push(self.missing());
            delete_topics(&self.servers, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
    }
}
