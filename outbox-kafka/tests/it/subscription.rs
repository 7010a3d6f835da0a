use async_trait::async_trait;
use bytes::Bytes;
use outbox_conformance::subscription_suite::{GivenUp, SubscriptionFixture};
use outbox_conformance::transport_suite::BrokerProcess;
use outbox_core::{OutboxMessage, PublishError, SubscribeOptions, Subscription, Transport};
use outbox_kafka::{KafkaSubscription, KafkaSubscriptionConfig, KafkaTransport};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};

use crate::broker::PrivateBroker;
use crate::fixture::{
    client_config, create_topic, delete_topics, is_running, read_topic, shared_servers, unique,
};

/// A topic of its own on the shared broker, or a broker of its own. One partition: the cases expect a place in an order
/// for messages without a key too.
pub(crate) struct KafkaReader {
    servers: String,
    name: String,
    transport: KafkaTransport,
    broker: Option<PrivateBroker>,
    dead_letters: Mutex<Vec<String>>,
}

impl KafkaReader {
    async fn at(servers: String, broker: Option<PrivateBroker>) -> Option<Self> {
        if !is_running(&servers).await {
            return None;
        }
        let name = unique();
        create_topic(&servers, &format!("{name}.topic"), 1).await;
        // One record in each batch: tansu in memory does not find the rest of a batch that a consumer has read half of.
        let transport = KafkaTransport::connect(&format!("kafka://{servers}?batch_bytes=1")).await.unwrap();
        Some(Self { servers, name, transport, broker, dead_letters: Mutex::default() })
    }

    /// Members that a case has dropped are gone a moment later, and have to be before the topic is: librdkafka dies of
    /// what tansu says to a member that reads a deleted topic.
    async fn nobody_reads(&self) {
        let groups: Vec<String> = self.dead_letters.lock().await.iter().map(|name| group_of(name)).collect();
        let servers = self.servers.clone();
        let left = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = client_config(&servers).create().unwrap();
            let deadline = Instant::now() + Duration::from_secs(10);
            let has_members = |group: &String| {
                let listed = client.fetch_group_list(Some(group), Duration::from_secs(5));
                listed.is_ok_and(|list| list.groups().iter().any(|group| !group.members().is_empty()))
            };
            while groups.iter().any(has_members) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        left.await.unwrap();
    }

    fn named(&self, mut options: SubscribeOptions) -> SubscribeOptions {
        options.group = format!("{}.{}", self.name, options.group);
        options.dead_letters = format!("{}.dead", options.group);
        options
    }
}

#[async_trait]
impl SubscriptionFixture for KafkaReader {
    const OWN_BROKER: bool = true;

    async fn new() -> Option<Self> {
        Self::at(shared_servers(), None).await
    }

    async fn with_own_broker() -> Option<Self> {
        let broker = PrivateBroker::launch().await?;
        Self::at(broker.servers(), Some(broker)).await
    }

    fn topic(&self) -> String {
        format!("{}.topic", self.name)
    }

    fn missing_topic(&self) -> Option<String> {
        Some(format!("{}.missing", self.name))
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Box<dyn Subscription> {
        let options = self.named(options);
        let mut made = self.dead_letters.lock().await;
        if !made.contains(&options.dead_letters) {
            create_topic(&self.servers, &options.dead_letters, 1).await;
            made.push(options.dead_letters.clone());
        }
        drop(made);
        let url = format!("kafka://{}?group=g&topics=t", self.servers);
        let config: KafkaSubscriptionConfig = url.parse().unwrap();
        Box::new(KafkaSubscription::new(config.options(options)).unwrap())
    }

    async fn publish(&self, messages: &[OutboxMessage]) {
        // A broker that was restarted a moment ago may need another try.
        for attempt in 0.. {
            let results = self.transport.publish(messages).await;
            let failed: Vec<&PublishError> =
                results.iter().filter_map(|result| result.as_ref().err()).collect();
            match failed.first() {
                None => return,
                Some(error) => assert!(attempt < 5 && failed.len() == messages.len(), "{error}"),
            }
            self.transport.reset().await;
        }
    }

    async fn publish_foreign(&self, payload: &'static [u8]) {
        let producer: FutureProducer = client_config(&self.servers).create().unwrap();
        let topic = self.topic();
        let record = FutureRecord::<[u8], [u8]>::to(&topic).payload(payload);
        producer.send(record, Duration::from_secs(10)).await.map_err(|(error, _)| error).unwrap();
    }

    async fn dead_letters(&self, options: &SubscribeOptions) -> Vec<GivenUp> {
        let options = self.named(options.clone());
        read_topic(&self.servers, &options.dead_letters).await.iter().map(given_up).collect()
    }

    fn with_secret(secret: &str) -> Option<(Box<dyn Subscription>, Vec<String>)> {
        let url = format!("kafka://user:{secret}@127.0.0.1:1?group=g&topics=t&connect_timeout=1s");
        let config: KafkaSubscriptionConfig = url.parse().unwrap();
        let mut texts = vec![format!("{config:?} {config:#?}")];
        let wrong = format!("{url}&nonsense=1").parse::<KafkaSubscriptionConfig>().unwrap_err();
        texts.push(format!("{wrong} {wrong:?}"));
        let subscription = KafkaSubscription::new(config).unwrap();
        texts.push(format!("{subscription:?} {subscription:#?}"));
        Some((Box::new(subscription), texts))
    }

    fn broker(&self) -> Option<&dyn BrokerProcess> {
        self.broker.as_ref().map(|broker| broker as &dyn BrokerProcess)
    }

    async fn cleanup(&self) {
        if self.broker.is_none() {
            self.nobody_reads().await;
            let mut names = self.dead_letters.lock().await.clone();
            names.push(self.topic());
            delete_topics(&self.servers, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
    }
}

fn group_of(dead_letters: &str) -> String {
    dead_letters.strip_suffix(".dead").unwrap_or(dead_letters).to_owned()
}

fn given_up(message: &OwnedMessage) -> GivenUp {
    let header = |name: &str| {
        let headers = message.headers().unwrap();
        let found = headers.iter().find(|header| header.key == name)?;
        Some(String::from_utf8(found.value.unwrap().to_vec()).unwrap())
    };
    GivenUp {
        id: header("ce_id"),
        reason: header("outbox-dead-reason").unwrap(),
        group: header("outbox-dead-group").unwrap(),
        topic: header("outbox-dead-topic").unwrap(),
        payload: Bytes::copy_from_slice(message.payload().unwrap()),
    }
}
