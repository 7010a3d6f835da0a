use async_trait::async_trait;
use outbox_conformance::servers::Server;
use outbox_conformance::subscription_suite::{GivenUp, SubscriptionFixture};
use outbox_conformance::transport_suite::BrokerProcess;
use outbox_core::{OutboxMessage, SubscribeOptions, Subscription, Transport};
use outbox_nats::{NatsSubscription, NatsSubscriptionConfig, NatsTransport};

use crate::fixture::{at, client, create_stream, shared_url, unique};

/// A stream of its own on the shared server, or a server of its own. The dead letters go to the same stream.
pub(crate) struct SubscriberFixture {
    url: String,
    name: String,
    transport: NatsTransport,
    server: Option<Server>,
}

impl SubscriberFixture {
    async fn at(url: String, server: Option<Server>) -> Option<Self> {
        let (jetstream, name) = (client(&url).await?, unique());
        create_stream(&jetstream, &name).await;
        let transport = NatsTransport::connect(&format!("{url}?stream={name}")).await.unwrap();
        Some(Self { url, name, transport, server })
    }

    fn dead_subject(&self, options: &SubscribeOptions) -> String {
        let dead_letters = &options.clone().checked("NATS").unwrap().dead_letters;
        format!("{}.{dead_letters}", self.name)
    }
}

#[async_trait]
impl SubscriptionFixture for SubscriberFixture {
    const OWN_BROKER: bool = true;

    async fn new() -> Option<Self> {
        Self::at(shared_url(), None).await
    }

    async fn with_own_broker() -> Option<Self> {
        let server = Server::nats(None).await?;
        Self::at(at(server.port()), Some(server)).await
    }

    fn topic(&self) -> String {
        format!("{}.topic", self.name)
    }

    fn missing_topic(&self) -> Option<String> {
        Some(format!("{}_missing.topic", self.name))
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Box<dyn Subscription> {
        let topics: Vec<_> = options.topics.iter().map(|topic| topic.as_str()).collect();
        let url = format!(
            "{}?group={}&topics={}&prefetch={}&redeliver_after={}ms&dead_letters={}&create=true",
            self.url,
            options.group,
            topics.join(","),
            options.prefetch,
            options.redeliver_after.as_millis(),
            self.dead_subject(&options),
        );
        Box::new(NatsSubscription::connect(&url).await.unwrap())
    }

    async fn publish(&self, messages: &[OutboxMessage]) {
        for batch in messages.chunks(self.transport.capabilities().max_batch) {
            loop {
                let results = self.transport.publish(batch).await;
                if results.iter().all(Result::is_ok) {
                    break;
                }
                // The server was restarted: ids keep a second copy out.
                assert!(self.server.is_some(), "{results:?}");
                self.transport.reset().await;
            }
        }
    }

    async fn publish_foreign(&self, payload: &'static [u8]) {
        let jetstream = client(&self.url).await.unwrap();
        jetstream.publish(self.topic(), payload.into()).await.unwrap().await.unwrap();
    }

    async fn dead_letters(&self, options: &SubscribeOptions) -> Vec<GivenUp> {
        let jetstream = client(&self.url).await.unwrap();
        let stream = jetstream.get_stream(&self.name).await.unwrap();
        let (subject, state) = (self.dead_subject(options), stream.cached_info().state.clone());
        let mut found = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let header = |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned());
            if *message.subject == *subject {
                found.push(GivenUp {
                    id: header("ce-id"),
                    reason: header("outbox-dead-reason").unwrap(),
                    group: header("outbox-dead-group").unwrap(),
                    topic: header("outbox-dead-topic").unwrap(),
                    payload: message.payload.clone(),
                });
            }
        }
        found
    }

    fn with_secret(secret: &str) -> Option<(Box<dyn Subscription>, Vec<String>)> {
        let url = format!("nats://user:{secret}@127.0.0.1:1,localhost:1?group=g&topics=t&connect_timeout=1s");
        let config: NatsSubscriptionConfig = url.parse().unwrap();
        let wrong = format!("{url}&nonsense=1").parse::<NatsSubscriptionConfig>().unwrap_err();
        let mut texts = vec![format!("{config:?} {config:#?}"), format!("{wrong} {wrong:?}")];
        let subscription = NatsSubscription::new(config).unwrap();
        texts.push(format!("{subscription:?} {subscription:#?}"));
        Some((Box::new(subscription), texts))
    }

    fn broker(&self) -> Option<&dyn BrokerProcess> {
        self.server.as_ref().map(|server| server as &dyn BrokerProcess)
    }

    async fn cleanup(&self) {
        if self.server.is_none()
            && let Some(jetstream) = client(&self.url).await
        {
            let _ = jetstream.delete_stream(&self.name).await;
        }
    }
}
