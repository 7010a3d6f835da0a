/// What a value of the environment, which is always a text, stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Fraction,
    Flag,
    /// Separated by commas.
    List,
}

/// Every key that is a single value or a list of them. [`super::document::Document`] has the same keys, and those that
/// are tables (`relay.on_dead.rules`), which only a file can have.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("store.url", Kind::Text),
    ("store.schema", Kind::Text),
    ("store.table_prefix", Kind::Text),
    ("transport.url", Kind::Text),
    ("relay.label", Kind::Text),
    ("relay.listen", Kind::Flag),
    ("relay.batch_size", Kind::Number),
    ("relay.window_rows", Kind::Number),
    ("relay.window_bytes", Kind::Number),
    ("relay.window_per_key", Kind::Number),
    ("relay.max_held_keys", Kind::Number),
    ("relay.concurrency", Kind::Number),
    ("relay.poll.busy", Kind::Text),
    ("relay.poll.calm", Kind::Text),
    ("relay.poll.idle", Kind::Text),
    ("relay.sweep_interval", Kind::Text),
    ("relay.backstop_interval", Kind::Text),
    ("relay.lease_ttl", Kind::Text),
    ("relay.lease_margin", Kind::Text),
    ("relay.publish_timeout", Kind::Text),
    ("relay.shutdown_timeout", Kind::Text),
    ("relay.breaker_first", Kind::Text),
    ("relay.breaker_longest", Kind::Text),
    ("relay.retry.schedule", Kind::List),
    ("relay.retry.jitter", Kind::Fraction),
    ("relay.retry.max_attempts", Kind::Number),
    ("relay.retry.max_unknown", Kind::Number),
    ("relay.on_dead.default", Kind::Text),
];

/// The variable that sets a key: `OUTBOX_RELAY_POLL_IDLE` for `relay.poll.idle`.
pub(super) fn variable(key: &str) -> String {
    format!("OUTBOX_{}", key.replace('.', "_").to_ascii_uppercase())
}
