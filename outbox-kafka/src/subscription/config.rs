use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use outbox_core::{BrokerConfigError, BrokerUrl, SubscribeOptions, TlsConfig, Topic};
use rdkafka::ClientConfig;

use crate::cluster::{Cluster, Sasl, incomplete, millis};
use crate::codec::is_topic;
use crate::config::Creation;
use crate::{BROKER, KafkaConfig};

/// Where the brokers are, who we are, and what to read as a member of which group.
///
/// Made from a URL (`"kafka://localhost:9092?group=billing&topics=orders".parse()`) and refined by its methods; every
/// parameter of the URL has a method of the same name. Its `Debug` output has no credentials.
#[derive(Clone)]
pub struct KafkaSubscriptionConfig {
    pub(crate) cluster: Cluster,
    pub(crate) options: SubscribeOptions,
    pub(crate) creation: Creation,
}

impl KafkaSubscriptionConfig {
    /// Logs in with a user name and a password.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.cluster.log_in(name.into(), password.into());
        self
    }

    /// How the user logs in; [`Sasl::Plain`] by default.
    #[must_use]
    pub fn sasl(mut self, mechanism: Sasl) -> Self {
        self.cluster.sasl = Some(mechanism);
        self
    }

    /// How the connections are encrypted; not at all by default. Needs the cargo feature `tls`.
    #[must_use]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.cluster.tls = tls;
        self
    }

    /// What the client is called in the brokers' logs and quotas; `outbox` by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.cluster.name = name.into();
        self
    }

    /// How long a connection may take to be established, and how long a broker may take to answer; 3 seconds by
    /// default.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.cluster.connect_timeout = time;
        self
    }

    /// Group, topics, prefetch, time for a member that vanished, and dead letters.
    #[must_use]
    pub fn options(mut self, options: SubscribeOptions) -> Self {
        self.options = options;
        self
    }

    /// Creates topics that are missing, the one of the dead letters among them; off by default.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.creation.allowed = create;
        self
    }

    /// Partitions of a topic that is created; 1 by default.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.creation.partitions = partitions;
        self
    }

    /// Copies of a topic that is created; 1 by default, 3 is what a cluster should have.
    #[must_use]
    pub fn replication(mut self, copies: i32) -> Self {
        self.creation.replication = copies;
        self
    }

    pub(crate) fn checked(mut self) -> Result<Self, BrokerConfigError> {
        self.cluster.check()?;
        self.creation.check()?;
        self.options = self.options.checked(BROKER)?;
        let topics = self.options.topics.iter().map(Topic::as_str);
        if !topics.chain([self.options.dead_letters.as_str()]).all(is_topic) {
            return Err(incomplete(
                "topics and dead_letters may have letters, digits, dots, _ and - in Kafka",
            ));
        }
        Ok(self)
    }

    /// After how long a group gives the partitions of a member away that is not heard of any more: within what brokers
    /// take as they are installed.
    pub(crate) fn session(&self) -> Duration {
        self.options.redeliver_after.clamp(Duration::from_secs(6), Duration::from_secs(1800))
    }

    pub(crate) fn consumer(&self) -> ClientConfig {
        let session = self.session();
        let mut config = self.cluster.client_config();
        config
            .set("group.id", &self.options.group)
            .set("session.timeout.ms", millis(session))
            .set("heartbeat.interval.ms", millis((session / 3).min(Duration::from_secs(3))))
            // The thread of the subscription polls all the time; this is for a process that stands still. It is also how
            // long librdkafka waits for the answer to its wish to join, on a connection that may have fallen silent.
            .set("max.poll.interval.ms", millis(session.max(Duration::from_secs(20))))
            .set("socket.timeout.ms", millis(session.clamp(Duration::from_secs(10), Duration::from_secs(60))))
            // A member that comes or goes takes nothing away from the others that they may keep.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            // Committed is what was stored, and stored is what was settled without a gap.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "250")
            // A topic that is missing is looked for again.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("fetch.wait.max.ms", "250");
        config
    }

    /// For the dead letters: a producer like any other, that leaves it to the broker what is too large.
    pub(crate) fn dead_letters(&self) -> KafkaConfig {
        let mut config = KafkaConfig::new(self.cluster.clone()).max_message_bytes(1_000_000_000);
        config.creation = self.creation;
        config
    }
}

/// `kafka://user:password@host:9092,host2:9092?group=…&topics=…&parameter=value&…`
impl FromStr for KafkaSubscriptionConfig {
    type Err = BrokerConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = BrokerUrl::parse(BROKER, text, &["kafka"])?;
        let options = SubscribeOptions::new("", []);
        let mut config = Self { cluster: Cluster::of(&url)?, options, creation: Creation::NONE };
        for parameter in url.parameters() {
            let known = config.options.set(&parameter)?
                || config.cluster.set(&parameter)?
                || config.creation.set(&parameter)?;
            if !known {
                let lists: [&[&str]; 4] = [
                    &SubscribeOptions::PARAMETERS,
                    &Creation::PARAMETERS,
                    &Cluster::PARAMETERS,
                    &TlsConfig::PARAMETERS,
                ];
                return Err(url.unknown(&parameter, &lists.concat()));
            }
        }
        config.checked()
    }
}

impl fmt::Debug for KafkaSubscriptionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSubscriptionConfig")
            .field("cluster", &self.cluster)
            .field("options", &self.options)
            .field("creation", &self.creation)
            .finish()
    }
}
