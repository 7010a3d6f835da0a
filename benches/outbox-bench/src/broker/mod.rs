//! Brokers, each by our transport and by its bare client.

mod amqp;
mod bare;
mod kafka;
mod nats;
mod redis;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use outbox_core::{OutboxMessage, Transport};
use tokio::sync::mpsc;
use uuid::Uuid;

pub(crate) use amqp::Amqp;
pub(crate) use bare::{Bare, Page};
pub(crate) use kafka::Kafka;
pub(crate) use nats::Nats;
pub(crate) use redis::Redis;

/// All of them.
pub(crate) const ALL: [&dyn Broker; 4] = [&Kafka, &Amqp, &Nats, &Redis];

/// A broker that messages are published to. Each run has a topic of its own: some brokers slow down as one grows.
#[async_trait]
pub(crate) trait Broker: Send + Sync {
    fn name(&self) -> &'static str;

    /// A topic that takes messages.
    async fn topic(&self) -> Result<String>;

    /// Our transport, with its defaults.
    async fn transport(&self, topic: &str, carried: Carried) -> Result<Arc<dyn Transport>>;

    /// The bare client, which publishes to this topic with at most so many messages under way.
    async fn bare(&self, topic: &str, window: usize, carried: Carried) -> Result<Box<dyn Bare>>;

    /// Removes the topic.
    async fn remove(&self, topic: &str) -> Result<()>;
}

/// What travels beside key and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// The id.
    Id,
    /// The attributes of CloudEvents.
    CloudEvents,
}

impl Carried {
    pub(crate) const ALL: [Self; 2] = [Self::Id, Self::CloudEvents];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Id => "id alone",
            Self::CloudEvents => "CloudEvents",
        }
    }

    /// The parameter of our transports.
    fn parameter(self) -> &'static str {
        match self {
            Self::Id => "envelope=raw",
            Self::CloudEvents => "envelope=cloudevents",
        }
    }
}

/// Publishes everything by a transport as a relay does: as many calls at once as may be under way. The time is that from
/// when the first message was confirmed.
pub(crate) async fn ours(transport: &dyn Transport, messages: &[OutboxMessage]) -> Result<Duration> {
    let (first, messages) = messages.split_at(1);
    transport.publish(first).await.into_iter().collect::<Result<Vec<()>, _>>()?;
    let started = Instant::now();
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
    Ok(started.elapsed())
}

/// The same by the bare client.
pub(crate) async fn raw(bare: &mut dyn Bare, messages: &[OutboxMessage]) -> Result<Duration> {
    let (first, messages) = messages.split_at(1);
    let pages = |messages: &[OutboxMessage]| messages.chunks(1_000).map(Page::of_messages).collect();
    all(bare, pages(first)).await?;
    let pages = pages(messages);
    let started = Instant::now();
    all(bare, pages).await?;
    Ok(started.elapsed())
}

/// Publishes these pages, until all is confirmed.
pub(crate) async fn all(bare: &mut dyn Bare, pages: Vec<Page>) -> Result<()> {
    let count = pages.len();
    let (sender, receiver) = mpsc::channel(count.max(1));
    for page in pages {
        sender.send(page).await?;
    }
    drop(sender);
    let (done, mut confirmed) = mpsc::unbounded_channel();
    bare.publish(receiver, done).await?;
    for _ in 0..count {
        ensure!(confirmed.recv().await.is_some(), "a page was not confirmed");
    }
    Ok(())
}

fn unique() -> String {
    format!("outbox-bench-{}", Uuid::now_v7().simple())
}

fn url(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
}
