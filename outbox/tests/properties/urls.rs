use std::fmt::{Debug, Display};
use std::str::FromStr;

use outbox::amqp::{AmqpConfig, AmqpSubscriptionConfig};
use outbox::kafka::{KafkaConfig, KafkaSubscriptionConfig};
use outbox::nats::{NatsConfig, NatsSubscriptionConfig};
use outbox::redis::{RedisConfig, RedisSubscriptionConfig};
use outbox::{BrokerConfigError, BrokerUrl};

use crate::secrets::{SECRET, assert_hidden, with_secrets};

const SCHEMES: &[&str] = &["kafka", "amqp", "amqps", "nats", "tls", "redis", "rediss"];

/// A URL is a configuration or an error, and neither shows its password.
pub fn broker_urls(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = shown(&text);
    // A password in a parameter is that of somebody else.
    let (url, parameters) = text.split_at(text.find('?').unwrap_or(text.len()));
    if let Some(url) = with_secrets(url)
        && !parameters.contains(SECRET)
    {
        assert_hidden(&shown(&format!("{url}{parameters}")));
    }
}

/// Whether some broker takes this URL.
#[must_use]
pub fn is_taken(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    BROKERS.iter().any(|broker| broker(&text).is_ok())
}

/// What a broker makes of a URL, as it is shown to people.
type Broker = fn(&str) -> Result<String, String>;

const BROKERS: &[Broker] = &[
    read::<KafkaConfig>,
    read::<KafkaSubscriptionConfig>,
    read::<AmqpConfig>,
    read::<AmqpSubscriptionConfig>,
    read::<NatsConfig>,
    read::<NatsSubscriptionConfig>,
    read::<RedisConfig>,
    read::<RedisSubscriptionConfig>,
];

/// All that everybody says to it.
fn shown(url: &str) -> String {
    let mut shown = outcome(BrokerUrl::parse("Test", url, SCHEMES)).unwrap_or_else(|error| error);
    for broker in BROKERS {
        shown.push_str(&broker(url).unwrap_or_else(|error| error));
    }
    shown
}

fn read<C: FromStr<Err = BrokerConfigError> + Debug>(url: &str) -> Result<String, String> {
    outcome(url.parse::<C>())
}

fn outcome<C: Debug, E: Debug + Display>(parsed: Result<C, E>) -> Result<String, String> {
    match parsed {
        Ok(config) => Ok(format!("{config:?} {config:#?}\n")),
        Err(error) => Err(format!("{error} {error:?}\n")),
    }
}
