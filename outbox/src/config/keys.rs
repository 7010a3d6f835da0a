use figment::value::Value;

use super::Config;
use super::field::Field;
use super::names::{Named, ROUTE_TOPICS};
use super::setting::SettingValue;

/// A key of the configuration: what it is called, what it sets, and what to say about it.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// A second name: a short one, or an older one.
    pub(super) also: Option<&'static str>,
    pub(super) field: fn(&mut Config) -> &mut dyn Field,
    /// Whether the value may hold credentials.
    pub(super) is_url: bool,
    /// For people; a sentence without its full stop.
    pub(super) about: &'static str,
}

/// What is allowed where the value is a URL.
pub(super) const URL: &str = "a URL, as a text";

impl Key {
    const fn new(name: &'static str, about: &'static str, field: fn(&mut Config) -> &mut dyn Field) -> Self {
        Self { name, also: None, field, is_url: false, about }
    }

    const fn also(self, name: &'static str) -> Self {
        Self { also: Some(name), ..self }
    }

    const fn url(self) -> Self {
        Self { is_url: true, ..self }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [Some(self.name), self.also].into_iter().flatten()
    }

    /// What may be written, after "allowed: ".
    pub(super) fn allowed(&self, config: &mut Config) -> &'static str {
        if self.is_url { URL } else { (self.field)(config).allowed() }
    }

    pub(super) fn read(&self, config: &mut Config) -> SettingValue {
        (self.field)(config).read()
    }
}

/// What a text stands for under this name.
pub(super) fn typed(named: &Named, text: &str) -> Value {
    match named {
        Named::Key(key) => (key.field)(&mut Config::default()).typed(text),
        Named::Route(route) if route.part == ROUTE_TOPICS => {
            Vec::<outbox_core::TopicPattern>::new().typed(text)
        }
        Named::Route(_) => Value::from(text),
    }
}

/// Every key, in the order of the reference. Routes have keys by their names.
pub(super) const KEYS: &[Key] = &[
    Key::new("profile", "defaults for a kind of place", |c| &mut c.profile),
    Key::new("enabled", "off: messages go to the broker directly, without a table and a relay", |c| {
        &mut c.enabled
    }),
    Key::new("processor_enabled", "off: this instance writes to the outbox, and does not relay", |c| {
        &mut c.processor_enabled
    }),
    Key::new("auto_start", "whether the relay of an application starts with it; else `OutboxHandle::start` does it", |c| {
        &mut c.auto_start
    }),
    Key::new("mode", "which way a message takes to the broker; `direct` if `enabled` is off", |c| &mut c.mode),
    Key::new("store.url", "the database: postgres, postgresql, mysql, mariadb or sqlite", |c| &mut c.store.url)
        .url(),
    Key::new("store.schema", "where the tables are; in MySQL and MariaDB the database", |c| {
        &mut c.store.schema
    }),
    Key::new("store.table_prefix", "what the names of the tables begin with", |c| &mut c.store.table_prefix),
    Key::new(
        "transport.url",
        "the broker: kafka, amqp, amqps, nats, tls, redis, rediss, stdout or memory; TLS and credentials are part of it",
        |c| &mut c.transport.url,
    )
    .url(),
    Key::new("relay.label", "what `outbox status` calls the relay", |c| &mut c.relay.label),
    Key::new("relay.batch_size", "rows per claim at most", |c| &mut c.relay.batch_size).also("batch_size"),
    Key::new("relay.concurrency", "publishes at once, per destination", |c| &mut c.relay.concurrency),
    Key::new("relay.window_rows", "rows in memory at most, per destination", |c| &mut c.relay.window_rows),
    Key::new("relay.window_bytes", "bytes of messages in memory at most, per destination", |c| {
        &mut c.relay.window_bytes
    }),
    Key::new("relay.window_per_key", "rows of one ordering key in memory at most", |c| {
        &mut c.relay.window_per_key
    }),
    Key::new("relay.max_held_keys", "held keys in memory at most, per destination", |c| {
        &mut c.relay.max_held_keys
    }),
    Key::new("relay.poll.busy", "when to look without a hint, shortly after there were rows", |c| {
        &mut c.relay.poll.busy
    }),
    Key::new("relay.poll.calm", "the same after ten empty looks", |c| &mut c.relay.poll.calm),
    Key::new(
        "relay.poll.idle",
        "the same after ten more: what a message waits at most that no hint tells of; the other two are no longer than it",
        |c| &mut c.relay.poll.idle,
    )
    .also("poll_interval"),
    Key::new("relay.retry.schedule", "pauses after the first, second, … failed try; the last one repeats", |c| {
        &mut c.relay.retry.schedule
    })
    .also("retry_schedule"),
    Key::new("relay.retry.jitter", "each pause is longer by a random part of up to this fraction", |c| {
        &mut c.relay.retry.jitter
    })
    .also("retry_jitter"),
    Key::new("relay.retry.max_attempts", "tries after which a message is dead", |c| {
        &mut c.relay.retry.max_attempts
    })
    .also("max_attempts"),
    Key::new("relay.retry.max_unknown", "unknown outcomes that use no attempt", |c| {
        &mut c.relay.retry.max_unknown
    }),
    Key::new("relay.on_dead.default", "what becomes of a key whose message is dead", |c| {
        &mut c.relay.on_dead.default
    }),
    Key::new("relay.on_dead.rules", "the same for some topics; the first that matches decides", |c| {
        &mut c.relay.on_dead.rules
    }),
    Key::new("relay.sweep_interval", "the shortest pause between two looks for late commits", |c| {
        &mut c.relay.sweep_interval
    }),
    Key::new("relay.backstop_interval", "the pause between two looks through the whole table", |c| {
        &mut c.relay.backstop_interval
    }),
    Key::new("relay.lease_ttl", "how long a vanished relay's shards wait for another", |c| {
        &mut c.relay.lease_ttl
    }),
    Key::new("relay.lease_margin", "how much of it is not trusted", |c| &mut c.relay.lease_margin),
    Key::new("relay.publish_timeout", "after this the outcome of a publish is unknown", |c| {
        &mut c.relay.publish_timeout
    }),
    Key::new("relay.shutdown_timeout", "how long a shutdown waits for what is under way", |c| {
        &mut c.relay.shutdown_timeout
    }),
    Key::new("relay.breaker_first", "the first pause while the broker is away", |c| {
        &mut c.relay.breaker_first
    }),
    Key::new("relay.breaker_longest", "the longest pause while the broker is away", |c| {
        &mut c.relay.breaker_longest
    }),
    Key::new("wakeups.in_process", "whether a commit wakes the relay of the same process", |c| {
        &mut c.wakeups.in_process
    }),
    Key::new(
        "wakeups.listen",
        "whether relays listen for notifications of PostgreSQL, and applications send them to relays elsewhere",
        |c| &mut c.wakeups.listen,
    )
    .also("relay.listen"),
    Key::new("wakeups.redis_url", "the Redis that carries hints between processes", |c| {
        &mut c.wakeups.redis_url
    })
    .url(),
    Key::new("wakeups.service", "the name that all processes of a service share, for hints by Redis", |c| {
        &mut c.wakeups.service
    }),
    Key::new("metrics.enabled", "whether a server for metrics runs", |c| &mut c.metrics.enabled),
    Key::new("metrics.listen", "its address", |c| &mut c.metrics.listen),
    Key::new("inbox.retention", "how long the inbox remembers what was processed", |c| {
        &mut c.inbox.retention
    }),
    Key::new("inbox.old_messages", "what becomes of a message that is older than that", |c| {
        &mut c.inbox.old_messages
    }),
    Key::new("inbox.broker_retention", "how long the broker keeps messages", |c| {
        &mut c.inbox.broker_retention
    }),
];
