use async_trait::async_trait;
use base64::Engine as _;
use outbox_conformance::subscription_suite::{GivenUp, SubscriptionFixture};
use outbox_conformance::transport_suite::{BrokerProcess, TransportFixture};
use outbox_core::{OutboxMessage, SubscribeOptions, Subscription};
use outbox_redis::{RedisSubscription, RedisSubscriptionConfig};
use redis::AsyncCommands as _;
use redis::streams::StreamRangeReply;

use crate::fixture::{Fixture, Mode, client};

impl<M: Mode> Fixture<M> {
    /// The names of a fixture begin with its prefix, so that they go with it.
    fn config(&self, mut options: SubscribeOptions) -> RedisSubscriptionConfig {
        let url = format!("{}?mode={}&group=x&topics=x&connect_timeout=1s", self.url, M::NAME);
        options.dead_letters = self.dead_letters_of(&options);
        url.parse::<RedisSubscriptionConfig>().unwrap().options(options)
    }

    fn dead_letters_of(&self, options: &SubscribeOptions) -> String {
        format!("{}{}.dead", self.prefix, options.group)
    }
}

#[async_trait]
impl<M: Mode> SubscriptionFixture for Fixture<M> {
    const OWN_BROKER: bool = true;

    async fn new() -> Option<Self> {
        <Self as TransportFixture>::new().await
    }

    async fn with_own_broker() -> Option<Self> {
        <Self as TransportFixture>::with_own_broker().await
    }

    fn topic(&self) -> String {
        format!("{}orders", self.prefix)
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Box<dyn Subscription> {
        Box::new(RedisSubscription::new(self.config(options)).unwrap())
    }

    async fn publish(&self, messages: &[OutboxMessage]) {
        for batch in messages.chunks(100) {
            let results = self.transport().publish(batch).await;
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        }
    }

    async fn publish_foreign(&self, payload: &'static [u8]) {
        let mut client = client(&self.url).await.unwrap();
        let topic = <Self as SubscriptionFixture>::topic(self);
        match M::NAME {
            "stream" => {
                drop(client.xadd::<_, _, _, _, String>(topic, "*", &[("payload", payload)]).await.unwrap())
            }
            _ => drop(client.lpush::<_, _, u64>(topic, payload).await.unwrap()),
        }
    }

    async fn dead_letters(&self, options: &SubscribeOptions) -> Vec<GivenUp> {
        let mut client = client(&self.url).await.unwrap();
        let key = self.dead_letters_of(options);
        if M::NAME == "stream" {
            let found: StreamRangeReply = client.xrange_all(key).await.unwrap();
            let text = |entry: &redis::streams::StreamId, field: &str| entry.get::<String>(field);
            let given_up = |entry: &redis::streams::StreamId| GivenUp {
                id: text(entry, "ce-id"),
                reason: text(entry, "outbox-dead-reason").unwrap(),
                group: text(entry, "outbox-dead-group").unwrap(),
                topic: text(entry, "outbox-dead-topic").unwrap(),
                payload: entry.get::<Vec<u8>>("payload").unwrap().into(),
            };
            return found.ids.iter().map(given_up).collect();
        }
        let found: Vec<String> = client.lrange(key, 0, -1).await.unwrap();
        let given_up = |element: String| {
            let value: serde_json::Value = serde_json::from_str(&element).unwrap();
            let text = |name: &str| value[name].as_str().map(str::to_owned);
            let payload = base64::engine::general_purpose::STANDARD.decode(text("data_base64").unwrap());
            GivenUp {
                id: text("id"),
                reason: text("outboxdeadreason").unwrap(),
                group: text("outboxdeadgroup").unwrap(),
                topic: text("outboxdeadtopic").unwrap(),
                payload: payload.unwrap().into(),
            }
        };
        found.into_iter().map(given_up).collect()
    }

    fn with_secret(secret: &str) -> Option<(Box<dyn Subscription>, Vec<String>)> {
        let url =
            format!("redis://user:{secret}@127.0.0.1:1?mode={}&group=g&topics=t&connect_timeout=1s", M::NAME);
        let config: RedisSubscriptionConfig = url.parse().unwrap();
        let wrong = format!("{url}&nonsense=1").parse::<RedisSubscriptionConfig>().unwrap_err();
        let mut texts = vec![format!("{config:?} {config:#?} {wrong} {wrong:?}")];
        let subscription = RedisSubscription::new(config).unwrap();
        texts.push(format!("{subscription:?}"));
        Some((Box::new(subscription), texts))
    }

    fn broker(&self) -> Option<&dyn BrokerProcess> {
        TransportFixture::broker(self)
    }

    async fn cleanup(&self) {
        TransportFixture::cleanup(self).await;
    }
}
