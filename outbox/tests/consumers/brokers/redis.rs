use async_trait::async_trait;
use outbox_conformance::servers::Server;
use outbox_conformance::started;
use redis::AsyncCommands as _;
use redis::streams::{StreamId, StreamRangeReply};

use super::{Broker, DeadLetter, TOPIC};
use crate::worker::CONSUMER;

/// A Redis of its own, with streams.
pub(crate) struct Redis(Server);

pub(crate) async fn redis() -> Option<Redis> {
    started("Redis (redis-server)", Server::redis(&[]).await).map(Redis)
}

#[async_trait]
impl Broker for Redis {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn transport(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port())
    }

    fn subscription(&self) -> String {
        format!("{}?group={CONSUMER}&topics={TOPIC}", self.transport())
    }

    fn keeps_order_across_crashes(&self) -> bool {
        false
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        let client = redis::Client::open(self.transport()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let found: StreamRangeReply = connection.xrange_all(format!("{CONSUMER}.dead")).await.unwrap();
        found.ids.iter().map(dead_letter).collect()
    }
}

fn dead_letter(entry: &StreamId) -> DeadLetter {
    let text = |field| entry.get::<String>(field).unwrap_or_default();
    DeadLetter {
        id: text("ce-id"),
        reason: text("outbox-dead-reason"),
        group: text("outbox-dead-group"),
        topic: text("outbox-dead-topic"),
        payload: entry.get("payload").unwrap_or_default(),
    }
}
