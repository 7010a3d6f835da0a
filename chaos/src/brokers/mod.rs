//! The brokers: a server of the harness's own, and a plain client that reads what is in it.

mod kafka;
mod nats;
mod rabbitmq;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use outbox_conformance::servers::Server;
use serde::{Deserialize, Serialize};

use crate::check::history::Received;

/// The topics of the producers.
pub(crate) const TOPICS: [&str; 2] = ["chaos.orders", "chaos.stock"];

/// After how long a message comes again to the consumers that one of them has left.
pub(crate) const REDELIVER_AFTER: Duration = Duration::from_secs(2);

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BrokerKind {
    Nats,
    Rabbitmq,
    Redis,
    Kafka,
}

impl BrokerKind {
    /// What it has outlives its process.
    pub(crate) const fn remembers(self) -> bool {
        // The broker that stands in for Kafka takes minutes to read from its file what it gives from memory at once.
        !matches!(self, Self::Kafka)
    }

    /// After how long without an effect a consumer is started anew once there is peace, if at all. For as long there is no
    /// consumer before.
    ///
    /// The broker that stands in for Kafka drops a member that is not heard of after its session (6 s here), and does not
    /// tell the others to share anew, which Kafka does: it looks for missing members before it answers a heartbeat, finds
    /// none again while it answers, and says that all is well. Who joined while a dead leader was still in the group has
    /// nothing to read, for good.
    pub(crate) const fn consumers_anew_after(self) -> Option<Duration> {
        match self {
            Self::Kafka => Some(Duration::from_secs(7)),
            Self::Nats | Self::Rabbitmq | Self::Redis => None,
        }
    }

    /// It can be told to refuse everything for a moment, and to take it again.
    pub(crate) const fn can_refuse(self) -> bool {
        matches!(self, Self::Nats)
    }

    /// A topic and a size of payload that it does not take.
    pub(crate) const fn refuses(self) -> (&'static str, usize) {
        match self {
            Self::Nats => ("chaos.orders", 8_000),
            Self::Rabbitmq => ("chaos.nowhere", 0),
            Self::Redis => ("chaos.refused", 0),
            Self::Kafka => ("chaos/refused", 0),
        }
    }

    /// All that go to it go by one address, which it tells its clients.
    pub(crate) const fn has_one_address(self) -> bool {
        matches!(self, Self::Kafka)
    }

    /// Starts one; at `advertised` its clients are to find it.
    pub(crate) async fn start(self, advertised: u16) -> Result<Arc<dyn Broker>> {
        Ok(match self {
            Self::Nats => Arc::new(nats::Nats::start().await?),
            Self::Rabbitmq => Arc::new(rabbitmq::Rabbitmq::start().await?),
            Self::Redis => Arc::new(redis::Redis::start().await?),
            Self::Kafka => Arc::new(kafka::Kafka::start(advertised).await?),
        })
    }
}

#[async_trait]
pub(crate) trait Broker: Send + Sync {
    fn server(&self) -> &Server;

    /// Makes what the messages need to be stored, empty.
    async fn prepare(&self) -> Result<()>;

    /// Whether it does what it is for: its port may open before.
    async fn is_ready(&self) -> bool;

    /// Makes it refuse all messages, or take them again. Only for those that can.
    async fn refuse(&self, refuses: bool) -> Result<()> {
        bail!("it can't be told to refuse messages ({refuses})")
    }

    /// The URL of the transport, at the port of what stands before it.
    fn transport(&self, port: u16) -> String;

    /// The URL of the subscription.
    fn subscription(&self, port: u16) -> String;

    /// Everything it has, each log in its order. Read once, at the end.
    async fn read_all(&self) -> Result<Vec<Received>>;

    /// How many messages the consumers have given up.
    async fn dead_letters(&self) -> Result<usize>;
}
