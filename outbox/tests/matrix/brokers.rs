use std::time::Duration;

use outbox::{OutboxMessage, connect_subscription};
use outbox_conformance::servers::Server;
use outbox_conformance::started;

/// Private brokers: nothing is left of the topics.
pub(crate) struct Brokers {
    brokers: Vec<Broker>,
    _servers: [Server; 2],
}

pub(crate) struct Broker {
    pub(crate) name: &'static str,
    /// The URL of the transport.
    pub(crate) transport: String,
    /// The URL of a subscription, up to its topics.
    subscription: String,
}

impl Brokers {
    pub(crate) async fn start() -> Option<Self> {
        let nats = started("NATS (nats-server)", Server::nats(None).await)?;
        let redis = started("Redis (redis-server)", Server::redis(&[]).await)?;
        let address = format!("nats://127.0.0.1:{}", nats.port());
        let transport = format!("{address}?stream=MATRIX&create=true&subjects=matrix.>");
        let first =
            Broker { name: "NATS", transport, subscription: format!("{address}?create=true&group=matrix") };
        let address = format!("redis://127.0.0.1:{}", redis.port());
        let transport = address.clone();
        let second = Broker { name: "Redis", transport, subscription: format!("{address}?group=matrix") };
        Some(Self { brokers: vec![first, second], _servers: [nats, redis] })
    }

    pub(crate) fn at(&self, index: usize) -> &Broker {
        &self.brokers[index % self.brokers.len()]
    }
}

impl Broker {
    /// Reads a topic from its beginning.
    pub(crate) async fn receive(&self, topic: &str, count: usize) -> Vec<OutboxMessage> {
        let url = format!("{}&topics={topic}", self.subscription);
        let mut subscription = connect_subscription(&url).await.unwrap();
        let mut received = Vec::new();
        while received.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(30), subscription.next()).await;
            let delivery = next.expect("a delivery in half a minute").unwrap();
            received.push(delivery.message().unwrap().clone());
            delivery.ack().await.unwrap();
        }
        subscription.close(Duration::from_secs(5)).await.unwrap();
        received
    }
}
