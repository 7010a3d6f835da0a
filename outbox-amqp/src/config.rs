use std::str::FromStr;
use std::time::Duration;

use outbox_core::{BrokerConfigError, BrokerUrl, Envelope, EnvelopeMode, EnvelopeNames, Secret, TlsConfig};

use crate::endpoint::{BROKER, Endpoint, SCHEMES, invalid, positive, short};

/// What becomes of a message that no queue takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unroutable {
    /// It is tried again, by the relay's schedule: the queue or its binding may still be made.
    #[default]
    Retry,
    /// It is refused, and goes to the dead letters at once; not where [`AmqpConfig::create`] declares its queue.
    Reject,
}

impl FromStr for Unroutable {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "retry" => Ok(Self::Retry),
            "reject" => Ok(Self::Reject),
            _ => Err(()),
        }
    }
}

/// The kind of a queue that is declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueType {
    /// Replicated, and counts deliveries.
    #[default]
    Quorum,
    /// On one node.
    Classic,
}

impl FromStr for QueueType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "quorum" => Ok(Self::Quorum),
            "classic" => Ok(Self::Classic),
            _ => Err(()),
        }
    }
}

/// Where the broker is, who we are, and which exchange takes the messages.
///
/// Made from a URL (`"amqp://localhost:5672/%2f?exchange=events".parse()`) and refined by its methods; every parameter of
/// the URL has a method of the same name. Its `Debug` output has no credentials.
#[derive(Debug, Clone)]
pub struct AmqpConfig {
    pub(crate) endpoint: Endpoint,
    pub(crate) envelope: Envelope,
    pub(crate) exchange: String,
    pub(crate) create: bool,
    pub(crate) queue_type: QueueType,
    pub(crate) unroutable: Unroutable,
    pub(crate) channels: usize,
    pub(crate) publish_timeout: Duration,
    pub(crate) max_in_flight: usize,
}

impl AmqpConfig {
    const PARAMETERS: [&'static str; 7] =
        ["exchange", "create", "queue_type", "unroutable", "channels", "publish_timeout", "max_in_flight"];

    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            envelope: Envelope::new(EnvelopeNames::AMQP),
            exchange: String::new(),
            create: false,
            queue_type: QueueType::Quorum,
            unroutable: Unroutable::Retry,
            channels: 4,
            publish_timeout: Duration::from_secs(5),
            max_in_flight: 1_024,
        }
    }

    /// Logs in with a user name and a password; `guest` and `guest` by default.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<Box<str>>) -> Self {
        self.endpoint.user = name.into();
        self.endpoint.password = Secret::new(password);
        self
    }

    /// The exchange; by default the default exchange, where the routing key is the name of a queue.
    #[must_use]
    pub fn exchange(mut self, name: impl Into<String>) -> Self {
        self.exchange = name.into();
        self
    }

    /// Declares what is missing: the exchange, as a durable topic exchange; or, with the default exchange, a durable
    /// queue for each topic. What exists is left as it is.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The kind of a queue that is declared; quorum by default.
    #[must_use]
    pub fn queue_type(mut self, kind: QueueType) -> Self {
        self.queue_type = kind;
        self
    }

    /// What becomes of a message that no queue takes; it is tried again by default.
    #[must_use]
    pub fn unroutable(mut self, unroutable: Unroutable) -> Self {
        self.unroutable = unroutable;
        self
    }

    /// How many windows of messages are under way at once, each on a channel of its own; 4 by default.
    #[must_use]
    pub fn channels(mut self, channels: usize) -> Self {
        self.channels = channels;
        self
    }

    /// The CloudEvents `source` of every message: a URI reference that names your service; `outbox` by default.
    #[must_use]
    pub fn source(mut self, uri: impl Into<Box<str>>) -> Self {
        self.envelope = self.envelope.with_source(uri);
        self
    }

    /// What the headers carry beside the user's own; CloudEvents by default.
    #[must_use]
    pub fn envelope(mut self, mode: EnvelopeMode) -> Self {
        self.envelope = self.envelope.with_mode(mode);
        self
    }

    /// How long one address may take to connect; 3 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.endpoint.connect_timeout = time;
        self
    }

    /// How long a call of `publish` lasts at most, connecting included; 5 seconds by default. What is not confirmed by
    /// then is unknown.
    #[must_use]
    pub fn publish_timeout(mut self, time: Duration) -> Self {
        self.publish_timeout = time;
        self
    }

    /// How many messages wait for their confirmation at most, over all channels; 1,024 by default. After a crash they may
    /// come twice, and so may what was confirmed and not yet settled: at most `window_rows` of the relay.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages;
        self
    }

    /// Messages of one window.
    pub(crate) fn window(&self) -> usize {
        (self.max_in_flight / self.channels).max(1)
    }

    /// Whether a message that came back is refused for good.
    pub(crate) fn rejects_strays(&self) -> bool {
        // The next attempt declares its queue.
        self.unroutable == Unroutable::Reject && !(self.create && self.exchange.is_empty())
    }

    pub(crate) fn checked(self) -> Result<Self, BrokerConfigError> {
        self.endpoint.check()?;
        self.envelope.check(BROKER)?;
        short("exchange", &self.exchange)?;
        positive("publish_timeout", self.publish_timeout)?;
        if !(1..=64).contains(&self.channels) {
            invalid("channels", "1 to 64")?;
        }
        if !(self.channels..=65_536).contains(&self.max_in_flight) {
            invalid("max_in_flight", "the number of channels to 65536")?;
        }
        Ok(self)
    }
}

/// `amqp://user:password@host:5672,host2:5672/vhost?parameter=value&…`, with `amqps://` for TLS.
///
/// No error repeats any of the text that may hold a password.
impl FromStr for AmqpConfig {
    type Err = BrokerConfigError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let url = BrokerUrl::parse(BROKER, url, &SCHEMES)?;
        let mut config = Self::new(Endpoint::new(&url));
        for parameter in url.parameters() {
            match parameter.name() {
                "exchange" => config.exchange = parameter.text().to_owned(),
                "create" => config.create = parameter.flag()?,
                "queue_type" => config.queue_type = queue_type(&parameter)?,
                "unroutable" => {
                    let unroutable = parameter.text().parse();
                    config.unroutable = unroutable.map_err(|()| parameter.invalid("retry or reject"))?;
                }
                "channels" => config.channels = parameter.number(1..=64)?,
                "publish_timeout" => config.publish_timeout = parameter.duration()?,
                "max_in_flight" => config.max_in_flight = parameter.number(1..=65_536)?,
                _ if config.envelope.set(&parameter)? || config.endpoint.set(&parameter)? => {}
                _ => {
                    let common = [&Envelope::PARAMETERS[..], &Endpoint::PARAMETERS, &TlsConfig::PARAMETERS];
                    let allowed = [&Self::PARAMETERS[..], &common.concat()].concat();
                    return Err(url.unknown(&parameter, &allowed));
                }
            }
        }
        config.checked()
    }
}

pub(crate) fn queue_type(parameter: &outbox_core::UrlParameter<'_>) -> Result<QueueType, BrokerConfigError> {
    parameter.text().parse().map_err(|()| parameter.invalid("quorum or classic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_method() {
        let url = "amqp://u:p@h/shop?exchange=e&create=true&queue_type=classic&unroutable=reject&channels=2\
                   &publish_timeout=1s&max_in_flight=7&source=/s&envelope=raw&connect_timeout=2s";
        let parsed: AmqpConfig = url.parse().unwrap();
        assert_eq!(parsed.endpoint.vhost, "shop");
        let built: AmqpConfig = "amqp://h/shop".parse().unwrap();
        let second = Duration::from_secs(1);
        let built = built.user("u", "p").exchange("e").create(true).queue_type(QueueType::Classic);
        let built = built.unroutable(Unroutable::Reject).channels(2).publish_timeout(second).max_in_flight(7);
        let built = built.source("/s").envelope(EnvelopeMode::Raw).connect_timeout(2 * second);
        assert_eq!(format!("{built:?}"), format!("{parsed:?}"));
        for (url, vhost) in
            [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h/%2f", "/"), ("amqp://h/a%2Fb", "a/b")]
        {
            assert_eq!(url.parse::<AmqpConfig>().unwrap().endpoint.vhost, vhost, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_is() {
        for (url, expected) in [
            ("amqp://h?queue_type=x", "queue_type of the RabbitMQ configuration must be quorum or classic"),
            ("amqp://h?unroutable=drop", "unroutable of the RabbitMQ configuration must be retry or reject"),
            (
                "amqp://h?channels=9&max_in_flight=8",
                "max_in_flight of the RabbitMQ configuration must be the number of",
            ),
            (
                "amqp://u:c4nary@h?exchagne=x",
                "the RabbitMQ URL has an unknown parameter \"exchagne\"; allowed are exchange",
            ),
        ] {
            let error = url.parse::<AmqpConfig>().unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(!format!("{error} {error:?}").contains("c4nary"));
        }
        let long = format!("amqp://h?exchange={}", "x".repeat(256));
        assert!(long.parse::<AmqpConfig>().is_err());
        let config: AmqpConfig = "amqps://u:c4nary@h".parse().unwrap();
        assert!(config.endpoint.tls.required && !format!("{config:?}").contains("c4nary"));
    }
}
