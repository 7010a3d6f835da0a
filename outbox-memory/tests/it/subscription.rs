use async_trait::async_trait;
use outbox_conformance::subscription_suite::{GivenUp, SubscriptionFixture};
use outbox_core::{OutboxMessage, SubscribeOptions, Subscription, Transport as _};
use outbox_memory::MemoryTransport;

struct MemoryFixture(MemoryTransport);

#[async_trait]
impl SubscriptionFixture for MemoryFixture {
    async fn new() -> Option<Self> {
        Some(Self(MemoryTransport::new()))
    }

    fn topic(&self) -> String {
        "orders".to_owned()
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Box<dyn Subscription> {
        Box::new(self.0.subscription(options).unwrap())
    }

    async fn publish(&self, messages: &[OutboxMessage]) {
        assert!(self.0.publish(messages).await.iter().all(Result::is_ok));
    }

    async fn publish_foreign(&self, payload: &'static [u8]) {
        self.0.publish_foreign("orders", payload);
    }

    async fn dead_letters(&self, options: &SubscribeOptions) -> Vec<GivenUp> {
        let seen = |dead: outbox_memory::MemoryDeadLetter| GivenUp {
            id: dead.message.map(|message| message.id().to_string()),
            reason: dead.reason,
            group: options.group.clone(),
            topic: dead.topic,
            payload: dead.payload,
        };
        self.0.dead_letters(&options.group).into_iter().map(seen).collect()
    }
}

outbox_conformance::subscription_suite!(MemoryFixture);
