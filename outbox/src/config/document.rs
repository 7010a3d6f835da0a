use std::time::Duration;

use outbox_core::TopicPattern;
use outbox_relay::{OnDead, RelayConfig};
use serde::de::{Deserialize, Deserializer, Error};

use super::{Config, RouteConfig, StoreConfig, TransportConfig};

/// The configuration as it is written. What is left out keeps its default.
#[derive(serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    store: Store,
    transport: Transport,
    route: Vec<Route>,
    relay: Relay,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Store {
    url: Option<String>,
    schema: Option<String>,
    table_prefix: Option<String>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Transport {
    url: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    name: Option<String>,
    topics: Vec<Topics>,
    transport: String,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Relay {
    label: Option<String>,
    listen: Option<bool>,
    batch_size: Option<usize>,
    window_rows: Option<usize>,
    window_bytes: Option<usize>,
    window_per_key: Option<usize>,
    max_held_keys: Option<usize>,
    concurrency: Option<usize>,
    poll: Poll,
    sweep_interval: Option<Span>,
    backstop_interval: Option<Span>,
    lease_ttl: Option<Span>,
    lease_margin: Option<Span>,
    publish_timeout: Option<Span>,
    shutdown_timeout: Option<Span>,
    breaker_first: Option<Span>,
    breaker_longest: Option<Span>,
    retry: Retry,
    on_dead: OnDeadRules,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Poll {
    busy: Option<Span>,
    calm: Option<Span>,
    idle: Option<Span>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Retry {
    schedule: Option<Vec<Span>>,
    jitter: Option<f64>,
    max_attempts: Option<u16>,
    max_unknown: Option<u16>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct OnDeadRules {
    default: Option<OnDead>,
    rules: Vec<Rule>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    topics: Topics,
    policy: OnDead,
}

/// A duration as people write it.
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = || D::Error::custom("expected a duration, for example \"30s\" or \"500ms\"");
        humantime::parse_duration(text.trim()).map(Self).map_err(|_| expected())
    }
}

struct Topics(TopicPattern);

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Document {
    pub(super) fn into_config(self) -> Config {
        Config {
            store: StoreConfig {
                url: self.store.url,
                schema: self.store.schema,
                table_prefix: self.store.table_prefix.unwrap_or_default(),
            },
            transport: TransportConfig { url: self.transport.url },
            routes: self
                .route
                .into_iter()
                .zip(1..)
                .map(|(route, number)| route.into_config(number))
                .collect(),
            listen: self.relay.listen.unwrap_or(true),
            relay: self.relay.into_config(),
        }
    }
}

impl Route {
    fn into_config(self, number: usize) -> RouteConfig {
        RouteConfig {
            name: self.name.unwrap_or_else(|| format!("route-{number}")),
            topics: self.topics.into_iter().map(|topics| topics.0).collect(),
            url: self.transport,
        }
    }
}

impl Relay {
    fn into_config(self) -> RelayConfig {
        let mut config = RelayConfig::default();
        set(&mut config.label, self.label);
        set(&mut config.batch_size, self.batch_size);
        set(&mut config.window_rows, self.window_rows);
        set(&mut config.window_bytes, self.window_bytes);
        set(&mut config.window_per_key, self.window_per_key);
        set(&mut config.max_held_keys, self.max_held_keys);
        set(&mut config.concurrency, self.concurrency);
        set_span(&mut config.poll.busy, self.poll.busy);
        set_span(&mut config.poll.calm, self.poll.calm);
        set_span(&mut config.poll.idle, self.poll.idle);
        set_span(&mut config.sweep_interval, self.sweep_interval);
        set_span(&mut config.backstop_interval, self.backstop_interval);
        set_span(&mut config.lease_ttl, self.lease_ttl);
        set_span(&mut config.lease_margin, self.lease_margin);
        set_span(&mut config.publish_timeout, self.publish_timeout);
        set_span(&mut config.shutdown_timeout, self.shutdown_timeout);
        set_span(&mut config.breaker_first, self.breaker_first);
        set_span(&mut config.breaker_longest, self.breaker_longest);
        let schedule = self.retry.schedule.map(|spans| spans.into_iter().map(|Span(span)| span).collect());
        set(&mut config.retry.schedule, schedule);
        set(&mut config.retry.jitter, self.retry.jitter);
        set(&mut config.retry.max_attempts, self.retry.max_attempts);
        set(&mut config.retry.max_unknown, self.retry.max_unknown);
        set(&mut config.on_dead.default, self.on_dead.default);
        let rules = self.on_dead.rules.into_iter();
        config.on_dead.rules = rules.map(|rule| (rule.topics.0, rule.policy)).collect();
        config
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_span(field: &mut Duration, value: Option<Span>) {
    set(field, value.map(|Span(span)| span));
}
