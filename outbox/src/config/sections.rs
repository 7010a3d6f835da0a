use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use outbox_core::TopicPattern;
use outbox_relay::{ConsumerConfig, OldMessages};

use super::redact::redacted;

/// Where the outbox is. Its `Debug` output has no credentials.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreConfig {
    /// The URL of the database.
    pub url: Option<String>,
    /// The schema of the tables; in MySQL and MariaDB the database.
    pub schema: Option<String>,
    /// The prefix of the tables' names.
    pub table_prefix: String,
}

/// Where messages go. Its `Debug` output has no credentials.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportConfig {
    /// The URL of the broker.
    pub url: Option<String>,
}

/// Topics that go to a broker of their own. Its `Debug` output has no credentials.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteConfig {
    /// What to call it in the log.
    pub name: String,
    /// The topics.
    pub topics: Vec<TopicPattern>,
    /// The URL of the broker.
    pub url: String,
}

/// What wakes the relay before its polling interval is over. Its `Debug` output has no credentials.
///
/// All of them are hints: one that is lost costs an interval, never a message.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WakeupConfig {
    /// Whether a commit in this process wakes the relay in this process. Default true.
    pub in_process: bool,
    /// Whether relays listen for the notifications of PostgreSQL, and applications send them to relays elsewhere. Default
    /// true.
    pub listen: bool,
    /// The URL of the Redis that carries hints between processes. Default none.
    pub redis_url: Option<String>,
    /// The name that all processes of one service share, for hints by Redis.
    pub service: Option<String>,
}

impl Default for WakeupConfig {
    fn default() -> Self {
        Self { in_process: true, listen: true, redis_url: None, service: None }
    }
}

/// Whether and where metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Whether a server for metrics runs. Default false, until a profile says otherwise.
    pub enabled: bool,
    /// The address it listens on. Default 127.0.0.1:9464.
    pub listen: SocketAddr,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { enabled: false, listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)) }
    }
}

/// How long the inbox remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxConfig {
    /// How long the inbox remembers a message that was processed. Default 7 days.
    pub retention: Duration,
    /// What becomes of messages that are older than that. Default [`OldMessages::Park`].
    pub old_messages: OldMessages,
    /// How long the broker keeps messages, if that is known.
    pub broker_retention: Option<Duration>,
}

impl InboxConfig {
    /// What a consumer has to know of it: its own defaults, with what is configured here.
    #[must_use]
    pub fn consumer(&self) -> ConsumerConfig {
        let mut config = ConsumerConfig::default();
        config.inbox_retention = self.retention;
        config.old_messages = self.old_messages;
        config
    }
}

impl Default for InboxConfig {
    fn default() -> Self {
        let retention = Duration::from_secs(7 * 24 * 60 * 60);
        Self { retention, old_messages: OldMessages::default(), broker_retention: None }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("url", &self.url.as_deref().map(redacted))
            .field("schema", &self.schema)
            .field("table_prefix", &self.table_prefix)
            .finish()
    }
}

impl fmt::Debug for TransportConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportConfig").field("url", &self.url.as_deref().map(redacted)).finish()
    }
}

impl fmt::Debug for RouteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteConfig")
            .field("name", &self.name)
            .field("topics", &self.topics)
            .field("url", &redacted(&self.url))
            .finish()
    }
}

impl fmt::Debug for WakeupConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeupConfig")
            .field("in_process", &self.in_process)
            .field("listen", &self.listen)
            .field("redis_url", &self.redis_url.as_deref().map(redacted))
            .field("service", &self.service)
            .finish()
    }
}
