//! Brokers, each by our transport and by its bare client.

mod amqp;
mod kafka;
mod nats;
mod redis;

use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use outbox_core::{OutboxMessage, Transport};
use uuid::Uuid;

pub(crate) use amqp::Amqp;
pub(crate) use kafka::Kafka;
pub(crate) use nats::Nats;
pub(crate) use redis::Redis;

/// A broker that messages are published to. Each run has a topic of its own: some brokers slow down as one grows.
#[async_trait]
pub(crate) trait Broker: Send + Sync {
    fn name(&self) -> &'static str;

    /// A topic that takes messages.
    async fn topic(&self) -> Result<String>;

    /// Our transport, with its defaults.
    async fn transport(&self, topic: &str) -> Result<Arc<dyn Transport>>;

    /// Publishes everything by the bare client: key, id and payload, confirmed, as many under way as `window` says.
    async fn raw(&self, topic: &str, messages: &[OutboxMessage], window: usize) -> Result<()>;

    /// Removes the topic.
    async fn remove(&self, topic: &str) -> Result<()>;
}

/// Publishes everything by a transport as a relay does: as many calls at once as may be under way.
pub(crate) async fn ours(transport: &dyn Transport, messages: &[OutboxMessage]) -> Result<()> {
    let capabilities = transport.capabilities();
    let batch = capabilities.max_batch.min(capabilities.max_in_flight);
    let calls = (capabilities.max_in_flight / batch).clamp(1, 4);
    let mut results =
        stream::iter(messages.chunks(batch).map(|batch| transport.publish(batch))).buffered(calls);
    while let Some(results) = results.next().await {
        for result in results {
            ensure!(result.is_ok(), "a message was not confirmed: {result:?}");
        }
    }
    Ok(())
}

fn unique() -> String {
    format!("outbox-bench-{}", Uuid::now_v7().simple())
}

fn url(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
}
