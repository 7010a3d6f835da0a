//! Brokers, each by our transport and by its bare client.

mod amqp;
mod kafka;
mod nats;
mod redis;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use outbox_core::{EnvelopeNames, OutboxMessage, SCHEMA_VERSION_HEADER, Transport};
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
    async fn transport(&self, topic: &str, carried: Carried) -> Result<Arc<dyn Transport>>;

    /// Publishes everything by the bare client, confirmed, as many under way as `window` says. The time is that from when
    /// the first message was confirmed: everything is connected then.
    async fn raw(
        &self,
        topic: &str,
        messages: &[OutboxMessage],
        window: usize,
        carried: Carried,
    ) -> Result<Duration>;

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

    /// The headers, as one would write them by hand.
    fn headers<'m>(
        self,
        message: &'m OutboxMessage,
        names: &EnvelopeNames,
        id: &'m str,
    ) -> impl Iterator<Item = (&'static str, &'m str)> + use<'m> {
        let all = [
            (names.id, id),
            (names.specversion, "1.0"),
            (names.source, "outbox"),
            (names.kind, message.event_type()),
            (names.content_type, message.content_type()),
            (SCHEMA_VERSION_HEADER, "1"),
        ];
        let count = if self == Self::Id { 1 } else { all.len() };
        all.into_iter().take(count)
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

fn unique() -> String {
    format!("outbox-bench-{}", Uuid::now_v7().simple())
}

fn url(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
}
