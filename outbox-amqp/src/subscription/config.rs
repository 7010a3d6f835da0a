use std::str::FromStr;
use std::time::Duration;

use outbox_core::{BrokerConfigError, BrokerUrl, SubscribeOptions, TlsConfig};

use crate::QueueType;
use crate::config::queue_type;
use crate::endpoint::{BROKER, Endpoint, SCHEMES, short};

/// Where the broker is, and what is read from it.
///
/// Made from a URL (`"amqp://localhost/%2f?exchange=events&group=billing&topics=orders.placed".parse()`); its parameters
/// are those of [`SubscribeOptions`], `exchange`, `queue`, `create`, `queue_type`, `connect_timeout` and those of TLS. Its
/// `Debug` output has no credentials.
#[derive(Debug, Clone)]
pub struct AmqpSubscriptionConfig {
    pub(crate) endpoint: Endpoint,
    pub(crate) options: SubscribeOptions,
    pub(crate) exchange: String,
    pub(crate) queue: String,
    pub(crate) create: bool,
    pub(crate) queue_type: QueueType,
}

impl AmqpSubscriptionConfig {
    const PARAMETERS: [&'static str; 4] = ["exchange", "queue", "create", "queue_type"];

    /// Replaces what is read, and by whom.
    #[must_use]
    pub fn options(mut self, options: SubscribeOptions) -> Self {
        self.options = options;
        self
    }

    /// The exchange that messages are published to; by default the default exchange, where a topic is a queue.
    #[must_use]
    pub fn exchange(mut self, name: impl Into<String>) -> Self {
        self.exchange = name.into();
        self
    }

    /// The queue; by default that of the group's name, or with the default exchange that of the topic's name.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = name.into();
        self
    }

    /// Declares what is missing: exchange, queue and its bindings to the topics, and the queue of dead letters. What
    /// exists is left as it is.
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

    /// How long one address may take to connect; 3 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.endpoint.connect_timeout = time;
        self
    }

    pub(crate) fn checked(mut self) -> Result<Self, BrokerConfigError> {
        self.endpoint.check()?;
        self.options = self.options.checked(BROKER)?;
        short("exchange", &self.exchange)?;
        short("queue", &self.queue)?;
        if self.queue.is_empty() {
            self.queue = match (&self.exchange[..], &self.options.topics[..]) {
                ("", [topic]) => topic.as_str().to_owned(),
                ("", _) => {
                    let problem = "several topics need exchange=NAME or queue=NAME: \
                                   with the default exchange each topic is a queue of its own";
                    return Err(BrokerConfigError::Incomplete { broker: BROKER, problem: problem.into() });
                }
                _ => self.options.group.clone(),
            };
        }
        Ok(self)
    }
}

impl FromStr for AmqpSubscriptionConfig {
    type Err = BrokerConfigError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let url = BrokerUrl::parse(BROKER, url, &SCHEMES)?;
        let mut config = Self {
            endpoint: Endpoint::new(&url),
            options: SubscribeOptions::new("", []),
            exchange: String::new(),
            queue: String::new(),
            create: false,
            queue_type: QueueType::Quorum,
        };
        for parameter in url.parameters() {
            match parameter.name() {
                "exchange" => config.exchange = parameter.text().to_owned(),
                "queue" => config.queue = parameter.text().to_owned(),
                "create" => config.create = parameter.flag()?,
                "queue_type" => config.queue_type = queue_type(&parameter)?,
                _ if config.options.set(&parameter)? || config.endpoint.set(&parameter)? => {}
                _ => {
                    let common =
                        [&SubscribeOptions::PARAMETERS[..], &Endpoint::PARAMETERS, &TlsConfig::PARAMETERS];
                    return Err(url.unknown(&parameter, &[&Self::PARAMETERS[..], &common.concat()].concat()));
                }
            }
        }
        config.checked()
    }
}
