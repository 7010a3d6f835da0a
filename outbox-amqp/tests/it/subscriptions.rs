use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use outbox_amqp::{AmqpSubscription, AmqpSubscriptionConfig, AmqpTransport};
use outbox_conformance::servers::Server;
use outbox_conformance::subscription_suite::{GivenUp, SubscriptionFixture};
use outbox_conformance::transport_suite::BrokerProcess;
use outbox_core::{OutboxMessage, SubscribeOptions, Subscription, Transport};

use tokio::time::{Instant, sleep};

use crate::fixture::{client, delete, exchange, shared_url, unique, url_of};

/// An exchange of its own, and whatever queues the subscriptions declare.
pub(crate) struct AmqpFixture {
    url: String,
    name: String,
    transport: AmqpTransport,
    server: Option<Server>,
    queues: Mutex<Vec<String>>,
}

impl AmqpFixture {
    async fn at(url: String, server: Option<Server>) -> Option<Self> {
        let name = unique();
        let (_connection, channel) = client(&url).await?;
        exchange(&channel, &name).await;
        let transport = AmqpTransport::connect(&format!("{url}?exchange={name}")).await.unwrap();
        Some(Self { url, name, transport, server, queues: Mutex::default() })
    }

    /// The names of a fixture begin with its own, so that they can be deleted with it.
    fn config(&self, mut options: SubscribeOptions) -> AmqpSubscriptionConfig {
        // On a broker that is killed: a quorum queue of RabbitMQ 3.10 that was declared a moment ago would not survive.
        let kind = if self.server.is_some() { "classic" } else { "quorum" };
        let known = options.topics.iter().all(|topic| topic.as_str() == SubscriptionFixture::topic(self));
        let url = format!(
            "{}?exchange={}&create={known}&queue_type={kind}&group=x&topics=x&connect_timeout=1s",
            self.url, self.name
        );
        options.group = format!("{}.{}", self.name, options.group);
        options.dead_letters = String::new();
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.extend([options.group.clone(), format!("{}.dead", options.group)]);
        let queue = options.group.clone();
        url.parse::<AmqpSubscriptionConfig>().unwrap().options(options).queue(queue)
    }
}

#[async_trait]
impl SubscriptionFixture for AmqpFixture {
    const OWN_BROKER: bool = true;

    async fn new() -> Option<Self> {
        Self::at(shared_url(), None).await
    }

    async fn with_own_broker() -> Option<Self> {
        let server = Server::rabbitmq().await?;
        Self::at(url_of(&server), Some(server)).await
    }

    fn topic(&self) -> String {
        format!("{}.orders", self.name)
    }

    fn missing_topic(&self) -> Option<String> {
        Some(format!("{}.missing", self.name))
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Box<dyn Subscription> {
        let mut subscription = AmqpSubscription::new(self.config(options)).unwrap();
        // Declares the queue, so that what is published from now on is for it.
        let _ = subscription.check().await;
        Box::new(subscription)
    }

    async fn publish(&self, messages: &[OutboxMessage]) {
        for batch in messages.chunks(100) {
            // Right after a restart it takes a moment, as for a relay.
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                let results = self.transport.publish(batch).await;
                if results.iter().all(Result::is_ok) {
                    break;
                }
                assert!(Instant::now() < deadline, "still failing: {results:?}");
                self.transport.reset().await;
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn publish_foreign(&self, payload: &'static [u8]) {
        let (_connection, channel) = client(&self.url).await.unwrap();
        let (exchange, topic) = (self.name.as_str().into(), SubscriptionFixture::topic(self).into());
        let options = BasicPublishOptions::default();
        channel.basic_publish(exchange, topic, options, payload, BasicProperties::default()).await.unwrap();
        // Nothing confirms it; what comes back on the channel afterwards came after it.
        channel.close(200, "done".into()).await.unwrap();
    }

    async fn dead_letters(&self, options: &SubscribeOptions) -> Vec<GivenUp> {
        use lapin::options::BasicGetOptions;
        use lapin::types::AMQPValue;

        let (_connection, channel) = client(&self.url).await.unwrap();
        let queue = format!("{}.{}.dead", self.name, options.group);
        let mut found = Vec::new();
        while let Some(message) =
            channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await.unwrap()
        {
            let headers = message.delivery.properties.headers().clone().unwrap_or_default();
            let text = |name: &str| match headers.inner().get(name) {
                Some(AMQPValue::LongString(text)) => {
                    Some(String::from_utf8(text.as_bytes().to_vec()).unwrap())
                }
                _ => None,
            };
            found.push(GivenUp {
                id: text("cloudEvents_id"),
                reason: text("outbox-dead-reason").unwrap(),
                group: text("outbox-dead-group").unwrap(),
                topic: text("outbox-dead-topic").unwrap(),
                payload: message.delivery.data.clone().into(),
            });
        }
        found
    }

    fn with_secret(secret: &str) -> Option<(Box<dyn Subscription>, Vec<String>)> {
        let url = format!("amqp://user:{secret}@127.0.0.1:1/%2f?group=g&topics=t&connect_timeout=1s");
        let config: AmqpSubscriptionConfig = url.parse().unwrap();
        let wrong = format!("{url}&nonsense=1").parse::<AmqpSubscriptionConfig>().unwrap_err();
        let mut texts = vec![format!("{config:?} {config:#?} {wrong} {wrong:?}")];
        let subscription = AmqpSubscription::new(config).unwrap();
        texts.push(format!("{subscription:?}"));
        Some((Box::new(subscription), texts))
    }

    fn broker(&self) -> Option<&dyn BrokerProcess> {
        self.server.as_ref().map(|server| server as &dyn BrokerProcess)
    }

    async fn cleanup(&self) {
        if self.server.is_none() {
            let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let queues: Vec<&str> = queues.iter().map(String::as_str).collect();
            delete(&self.url, &[&self.name], &queues).await;
        }
    }
}
