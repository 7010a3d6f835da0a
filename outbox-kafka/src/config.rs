use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use outbox_core::{
    BrokerConfigError, BrokerUrl, Envelope, EnvelopeMode, EnvelopeNames, TlsConfig, UrlParameter,
};
use rdkafka::ClientConfig;

use crate::BROKER;
use crate::cluster::{Cluster, Sasl, invalid, millis};

/// Where the brokers are, who we are, and how messages become records.
///
/// Made from a URL (`"kafka://localhost:9092".parse()`) and refined by its methods; every parameter of the URL has a
/// method of the same name. Its `Debug` output has no credentials.
#[derive(Clone)]
pub struct KafkaConfig {
    pub(crate) cluster: Cluster,
    pub(crate) envelope: Envelope,
    pub(crate) creation: Creation,
    pub(crate) publish_timeout: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) gapless: bool,
    partitioner: String,
    compression: String,
    linger: Duration,
    max_message_bytes: usize,
    batch_bytes: usize,
    queue_messages: usize,
}

/// Whether a topic that is missing is created, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Creation {
    pub(crate) allowed: bool,
    pub(crate) partitions: i32,
    pub(crate) replication: i32,
}

impl Creation {
    pub(crate) const PARAMETERS: [&'static str; 3] = ["create", "partitions", "replication"];
    pub(crate) const NONE: Self = Self { allowed: false, partitions: 1, replication: 1 };

    pub(crate) fn set(&mut self, parameter: &UrlParameter<'_>) -> Result<bool, BrokerConfigError> {
        match parameter.name() {
            "create" => self.allowed = parameter.flag()?,
            "partitions" => self.partitions = parameter.number(1..=10_000)?,
            "replication" => self.replication = parameter.number(1..=100)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn check(self) -> Result<(), BrokerConfigError> {
        if !(1..=10_000).contains(&self.partitions) {
            return Err(invalid("partitions", "1 to 10000"));
        }
        if !(1..=100).contains(&self.replication) {
            return Err(invalid("replication", "1 to 100"));
        }
        Ok(())
    }
}

impl KafkaConfig {
    const PARAMETERS: [&'static str; 9] = [
        "publish_timeout",
        "max_in_flight",
        "gapless",
        "partitioner",
        "compression",
        "linger",
        "max_message_bytes",
        "batch_bytes",
        "queue_messages",
    ];

    pub(crate) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            envelope: Envelope::new(EnvelopeNames::UNDERSCORE),
            creation: Creation::NONE,
            publish_timeout: Duration::from_secs(5),
            max_in_flight: 2_000,
            gapless: true,
            partitioner: "murmur2_random".to_owned(),
            compression: "none".to_owned(),
            linger: Duration::from_millis(1),
            // What a broker takes as it is installed.
            max_message_bytes: 1_048_588,
            batch_bytes: 1_000_000,
            queue_messages: 100_000,
        }
    }

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

    /// How long a connection may take to be established, and how long a broker may take to say whether a topic is
    /// there; 3 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.cluster.connect_timeout = time;
        self
    }

    /// The `ce_source` of every message: a URI reference that names your service; `outbox` by default.
    #[must_use]
    pub fn source(mut self, uri: impl Into<Box<str>>) -> Self {
        self.envelope = self.envelope.with_source(uri);
        self
    }

    /// What the headers carry.
    #[must_use]
    pub fn envelope(mut self, mode: EnvelopeMode) -> Self {
        self.envelope = self.envelope.with_mode(mode);
        self
    }

    /// Creates topics that are missing, with [`KafkaConfig::partitions`] and [`KafkaConfig::replication`]; off by
    /// default. A topic that exists is left as it is.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.creation.allowed = create;
        self
    }

    /// Partitions of a topic that is created; 1 by default. It is the number of consumers that can share a topic; when
    /// it is raised later, keys move to other partitions and lose their order once.
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

    /// How long a call of `publish` lasts at most; 5 seconds by default. What is not confirmed by then is unknown, and
    /// the producer that holds it is ended.
    #[must_use]
    pub fn publish_timeout(mut self, time: Duration) -> Self {
        self.publish_timeout = time;
        self
    }

    /// How many messages wait for their confirmation at most, over all calls; 2,000 by default. After a crash they may
    /// come twice, and so may what was confirmed and not yet settled: at most `window_rows` of the relay.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages;
        self
    }

    /// Whether many messages of a key may be under way at once; on by default. It takes librdkafka's gapless guarantee:
    /// a record that a broker refuses for good ends the producer, and what else was under way becomes unknown and comes
    /// twice. Without it, one message of each key is under way, and a refused record harms nobody.
    #[must_use]
    pub fn gapless(mut self, gapless: bool) -> Self {
        self.gapless = gapless;
        self
    }

    /// How a key becomes a partition, by librdkafka's name; `murmur2_random` by default, which is what Java clients do.
    /// Every producer of a topic must do the same, or a key has no order.
    #[must_use]
    pub fn partitioner(mut self, name: impl Into<String>) -> Self {
        self.partitioner = name.into();
        self
    }

    /// How batches are compressed: `none` (default), `lz4` or `snappy`; `gzip` and `zstd` where rdkafka was built with
    /// them.
    #[must_use]
    pub fn compression(mut self, codec: impl Into<String>) -> Self {
        self.compression = codec.into();
        self
    }

    /// How long a record waits for others to share a request with; 1 millisecond by default. Zero is allowed.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// Bytes of a record at most, headers and overhead included; 1,048,588 by default, like a broker's. Raise it
    /// together with `max.message.bytes` of the topics.
    #[must_use]
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Bytes of a batch of records at most; 1,000,000 by default. A broker judges batches by the same limit as records:
    /// where a topic has a lower one, the transport learns it by refusals, and this spares them.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Records in librdkafka's own queue at most; 100,000 by default. When it is full, publishing waits.
    #[must_use]
    pub fn queue_messages(mut self, records: usize) -> Self {
        self.queue_messages = records;
        self
    }

    pub(crate) fn checked(self) -> Result<Self, BrokerConfigError> {
        self.cluster.check()?;
        self.envelope.check(BROKER)?;
        self.creation.check()?;
        if !(Duration::from_millis(100)..=Duration::from_secs(300)).contains(&self.publish_timeout) {
            return Err(invalid("publish_timeout", "100ms to 5min"));
        }
        if !(1..=65_536).contains(&self.max_in_flight) {
            return Err(invalid("max_in_flight", "1 to 65536"));
        }
        let partitioners =
            ["murmur2_random", "murmur2", "consistent_random", "consistent", "fnv1a_random", "fnv1a"];
        // Not `random`: it would scatter the messages of a key.
        if !partitioners.contains(&self.partitioner.as_str()) {
            return Err(invalid(
                "partitioner",
                "murmur2_random, murmur2, consistent_random, consistent, fnv1a_random or fnv1a",
            ));
        }
        if !["none", "gzip", "snappy", "lz4", "zstd"].contains(&self.compression.as_str()) {
            return Err(invalid("compression", "none, lz4, snappy, gzip or zstd"));
        }
        if self.linger * 2 > self.publish_timeout {
            return Err(invalid("linger", "at most half of publish_timeout"));
        }
        if !(1_000..=1_000_000_000).contains(&self.max_message_bytes) {
            return Err(invalid("max_message_bytes", "1000 to 1000000000"));
        }
        if !(1..=self.max_message_bytes).contains(&self.batch_bytes) {
            return Err(invalid("batch_bytes", "1 to max_message_bytes"));
        }
        if !(1..=10_000_000).contains(&self.queue_messages) {
            return Err(invalid("queue_messages", "1 to 10000000"));
        }
        Ok(self)
    }

    pub(crate) const fn batch_limit(&self) -> usize {
        self.batch_bytes
    }

    /// What the producer is told; `batch_bytes` may have been learned.
    pub(crate) fn producer(&self, batch_bytes: usize) -> ClientConfig {
        let mut config = self.cluster.client_config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("enable.gapless.guarantee", self.gapless.to_string())
            .set("max.in.flight.requests.per.connection", "5")
            .set("partitioner", &self.partitioner)
            .set("compression.codec", &self.compression)
            .set("linger.ms", (self.linger.as_secs_f64() * 1e3).to_string())
            .set("message.max.bytes", self.max_message_bytes.to_string())
            .set("batch.size", batch_bytes.to_string())
            .set("queue.buffering.max.messages", self.queue_messages.to_string())
            // Later than the deadline of the call, which ends the producer: a single record must never time out on its
            // own, because the ones behind it would still be sent.
            .set("message.timeout.ms", millis(self.publish_timeout * 2 + Duration::from_secs(1)))
            .set("request.timeout.ms", millis(self.publish_timeout))
            // A connection that has fallen silent is given up while the call still waits, and its requests go over a new
            // one, as the same batches: the broker takes none of them twice. By default that takes a minute, in which
            // whatever is sent through this producer waits behind them.
            .set("socket.timeout.ms", millis((self.publish_timeout / 2).max(Duration::from_secs(1))));
        config
    }
}

/// `kafka://user:password@host:9092,host2:9092?parameter=value&…`
impl FromStr for KafkaConfig {
    type Err = BrokerConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = BrokerUrl::parse(BROKER, text, &["kafka"])?;
        let mut config = Self::new(Cluster::of(&url)?);
        for parameter in url.parameters() {
            match parameter.name() {
                "publish_timeout" => config.publish_timeout = parameter.duration()?,
                "max_in_flight" => config.max_in_flight = parameter.number(1..=65_536)?,
                "gapless" => config.gapless = parameter.flag()?,
                "partitioner" => config.partitioner = parameter.text().to_owned(),
                "compression" => config.compression = parameter.text().to_owned(),
                "linger" if parameter.text() == "0" => config.linger = Duration::ZERO,
                "linger" => config.linger = parameter.duration()?,
                "max_message_bytes" => {
                    config.max_message_bytes = parameter.number(1_000..=1_000_000_000)?;
                    config.batch_bytes = config.batch_bytes.min(config.max_message_bytes);
                }
                "batch_bytes" => config.batch_bytes = parameter.number(1..=1_000_000_000)?,
                "queue_messages" => config.queue_messages = parameter.number(1..=10_000_000)?,
                _ if config.creation.set(&parameter)?
                    || config.cluster.set(&parameter)?
                    || config.envelope.set(&parameter)? => {}
                _ => return Err(url.unknown(&parameter, &all_parameters())),
            }
        }
        config.checked()
    }
}

fn all_parameters() -> Vec<&'static str> {
    let own = KafkaConfig::PARAMETERS.iter().chain(&Creation::PARAMETERS);
    own.chain(&Envelope::PARAMETERS)
        .chain(&Cluster::PARAMETERS)
        .chain(&TlsConfig::PARAMETERS)
        .copied()
        .collect()
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("cluster", &self.cluster)
            .field("envelope", &self.envelope)
            .field("creation", &self.creation)
            .field("publish_timeout", &self.publish_timeout)
            .field("max_in_flight", &self.max_in_flight)
            .field("gapless", &self.gapless)
            .field("partitioner", &self.partitioner)
            .field("compression", &self.compression)
            .field("linger", &self.linger)
            .field("max_message_bytes", &self.max_message_bytes)
            .field("batch_bytes", &self.batch_bytes)
            .field("queue_messages", &self.queue_messages)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str) -> String {
        url.parse::<KafkaConfig>().unwrap_err().to_string()
    }

    #[test]
    fn every_parameter_reaches_the_client() {
        let config: KafkaConfig = "kafka://me:p%40ss@a,b:9093,[::1]?sasl=plain&name=shop&connect_timeout=2s\
            &publish_timeout=2s&max_in_flight=64&gapless=false&partitioner=consistent&compression=lz4&linger=5ms\
            &max_message_bytes=2000000&batch_bytes=3000&queue_messages=10&create=true&partitions=6&replication=3\
            &source=/shop&envelope=raw&tls=off"
            .parse()
            .unwrap();
        let client = config.producer(config.batch_limit());
        for (name, value) in [
            ("bootstrap.servers", "a:9092,b:9093,[::1]:9092"),
            ("client.id", "shop"),
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "me"),
            ("sasl.password", "p@ss"),
            ("socket.connection.setup.timeout.ms", "2000"),
            ("enable.gapless.guarantee", "false"),
            ("partitioner", "consistent"),
            ("compression.codec", "lz4"),
            ("linger.ms", "5"),
            ("message.max.bytes", "2000000"),
            ("batch.size", "3000"),
            ("queue.buffering.max.messages", "10"),
            // What is not for anybody to change.
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("max.in.flight.requests.per.connection", "5"),
            ("allow.auto.create.topics", "false"),
        ] {
            assert_eq!(client.get(name), Some(value), "{name}");
        }
        assert!(config.creation.allowed);
        assert_eq!((config.creation.partitions, config.creation.replication), (6, 3));
        assert_eq!((config.envelope.mode(), config.envelope.source()), (EnvelopeMode::Raw, "/shop"));
        let late: u128 = client.get("message.timeout.ms").unwrap().parse().unwrap();
        assert!(late > config.publish_timeout.as_millis());
        let silent: u128 = client.get("socket.timeout.ms").unwrap().parse().unwrap();
        assert!(silent * 2 <= config.publish_timeout.as_millis(), "{silent} ms");
        for name in all_parameters() {
            let text = format!("kafka://h?{name}=%00").parse::<KafkaConfig>().err();
            assert!(!text.is_some_and(|error| error.to_string().contains("unknown")), "{name}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_is_allowed() {
        let unknown = error("kafka://h?acks=1");
        assert!(
            unknown.starts_with("the Kafka URL has an unknown parameter \"acks\"; allowed are "),
            "{unknown}"
        );
        assert_eq!(
            error("kafka://h?partitioner=random"),
            "partitioner of the Kafka configuration must be murmur2_random, murmur2, consistent_random, consistent, \
             fnv1a_random or fnv1a"
        );
        assert_eq!(
            error("kafka://h?sasl=plain"),
            "the Kafka configuration is incomplete: sasl=… needs a user and a password in the URL"
        );
        for bad in [
            "kafka://user@h",
            "kafka://h/path",
            "kafka://h?linger=4s",
            "kafka://h?batch_bytes=2000000",
            "kafka://h?publish_timeout=1ms",
            "kafka://h?connect_timeout=10ms",
            "kafka://u:p%00@h",
        ] {
            assert!(bad.parse::<KafkaConfig>().is_err(), "{bad} was accepted");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn what_this_build_lacks_is_named() {
        for url in ["kafka://h?tls=required", "kafka://u:p@h?sasl=scram-sha-512"] {
            for name in ["needs the cargo feature `kafka-tls` of outbox and", "`tls` of outbox-kafka"] {
                assert!(error(url).contains(name), "{}", error(url));
            }
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn encryption_is_verified_or_off() {
        let config: KafkaConfig =
            "kafka://u:p@h?tls=required&tls_ca=/ca&tls_cert=/c&tls_key=/k&sasl=scram-sha-512"
                .parse()
                .unwrap();
        let client = config.producer(1);
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("enable.ssl.certificate.verification", "true"),
            ("ssl.endpoint.identification.algorithm", "https"),
            ("ssl.ca.location", "/ca"),
            ("ssl.certificate.location", "/c"),
            ("ssl.key.location", "/k"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
        ] {
            assert_eq!(client.get(name), Some(value), "{name}");
        }
        let missing = crate::KafkaTransport::new("kafka://h?tls=required&tls_ca=/none".parse().unwrap());
        let text = missing.unwrap_err().to_string();
        assert!(text.starts_with("the Kafka client refuses its configuration: ssl.ca.location"), "{text}");
    }

    #[test]
    fn a_codec_that_the_client_was_built_without_is_refused() {
        let refused = crate::KafkaTransport::new("kafka://h?compression=zstd".parse().unwrap());
        let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("compression.codec"), "{text}");
        crate::KafkaTransport::new("kafka://h?compression=lz4".parse().unwrap()).unwrap();
    }
}
