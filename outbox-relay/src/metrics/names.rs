//! The names of all metrics, in one place: the code, the dashboard, the alert rules and the tests take them from here.

use ::metrics::Unit;

/// Messages that a broker confirmed, or that were stored because it was not available ([`super::Path`]).
pub const PUBLISHED_TOTAL: &str = "outbox_published_total";
/// Messages that a broker did not confirm, once per try.
pub const PUBLISH_ERRORS_TOTAL: &str = "outbox_publish_errors_total";
/// Messages that were written to the dead letters.
pub const DEAD_TOTAL: &str = "outbox_dead_total";
/// Failed tries that were written down, to be repeated later.
pub const RETRIES_TOTAL: &str = "outbox_retries_total";
/// From the row's time to the broker's confirmation.
pub const COMMIT_TO_ACK_SECONDS: &str = "outbox_commit_to_ack_seconds";
/// One call of a transport with one batch.
pub const PUBLISH_SECONDS: &str = "outbox_publish_seconds";
/// How far the database's clock is known to be ahead of this machine's.
pub const DATABASE_CLOCK_AHEAD_SECONDS: &str = "outbox_database_clock_ahead_seconds";

/// Rows in `outbox_messages`.
pub const PENDING: &str = "outbox_pending";
/// Age of the oldest row in `outbox_messages`.
pub const OLDEST_AGE_SECONDS: &str = "outbox_oldest_age_seconds";
/// Rows in `outbox_deferred`.
pub const DEFERRED: &str = "outbox_deferred";
/// Keys that stand still.
pub const BLOCKED_KEYS: &str = "outbox_blocked_keys";
/// How long the longest-standing of them has stood still.
pub const LONGEST_BLOCKED_SECONDS: &str = "outbox_longest_blocked_seconds";
/// Rows in `outbox_dead_letters`.
pub const DEAD_LETTERS: &str = "outbox_dead_letters";
/// Where counting rows stops.
pub const COUNT_LIMIT: &str = "outbox_count_limit";
/// Age of the six gauges above it.
pub const STATS_AGE_SECONDS: &str = "outbox_stats_age_seconds";

/// Hints that something was committed.
pub const WAKEUPS_TOTAL: &str = "outbox_wakeups_total";
/// The pause after a look that finds nothing.
pub const POLL_INTERVAL_SECONDS: &str = "outbox_poll_interval_seconds";
/// Changes of the pace of polling.
pub const POLL_TRANSITIONS_TOTAL: &str = "outbox_poll_transitions_total";
/// Shards that this relay owns.
pub const SHARDS_OWNED: &str = "outbox_shards_owned";
/// Shards lost without having been handed over.
pub const LEASE_LOST_TOTAL: &str = "outbox_lease_lost_total";
/// Settles that changed nothing, because another relay had taken over.
pub const STALE_SETTLES_TOTAL: &str = "outbox_stale_settles_total";
/// The circuit breaker of a destination.
pub const BREAKER_STATE: &str = "outbox_breaker_state";
/// Whether the database answers the relay.
pub const STORE_UP: &str = "outbox_store_up";

/// Deliveries that the inbox had seen before.
pub const INBOX_DUPLICATES_TOTAL: &str = "outbox_inbox_duplicates_total";
/// Deliveries that a handler has finished with.
pub const CONSUMER_PROCESSED_TOTAL: &str = "outbox_consumer_processed_total";
/// Deliveries that a handler has failed at and that come again.
pub const CONSUMER_RETRIES_TOTAL: &str = "outbox_consumer_retries_total";
/// Deliveries that a consumer has given up.
pub const CONSUMER_DEAD_TOTAL: &str = "outbox_consumer_dead_total";
/// One run of a handler, its transaction included.
pub const CONSUMER_HANDLE_SECONDS: &str = "outbox_consumer_handle_seconds";
/// Deliveries that a handler works on now.
pub const CONSUMER_IN_FLIGHT: &str = "outbox_consumer_in_flight";

/// What is said of a metric, apart from its values.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// The keys of its labels.
    pub labels: &'static [&'static str],
    /// What it says, as an exporter shows it.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// It only grows, from the start of the process.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How often values lay below each of these bounds.
    Histogram {
        /// Upper bounds, ascending.
        buckets: &'static [f64],
    },
}

/// 1 ms to 10 s: a call of a broker or of a handler. Beyond that the relay's own time-out ends it.
const CALL: &[f64] = &[0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// 1 ms to an hour: what waits for a broker or for its next try waits long.
const WAIT: &[f64] = &[
    0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    900.0, 3600.0,
];

const fn metric(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help }
}

/// What a relay reports while it works; those with the label `path` also a publisher that does not wait for a relay.
pub const RELAY: &[Metric] = &[
    metric(
        PUBLISHED_TOTAL,
        Kind::Counter,
        Unit::Count,
        &["path", "transport", "topic"],
        "Messages that the broker confirmed, by the path they took: direct (published at once) or relayed (from the \
         outbox); fallback: put into the outbox because the broker was not available, relayed later.",
    ),
    metric(
        PUBLISH_ERRORS_TOTAL,
        Kind::Counter,
        Unit::Count,
        &["path", "kind", "transport"],
        "Messages that the broker did not confirm, once per try, which was direct or relayed: unavailable, unknown, \
         retryable or rejected.",
    ),
    metric(
        DEAD_TOTAL,
        Kind::Counter,
        Unit::Count,
        &["reason"],
        "Messages written to the dead letters, parked followers included.",
    ),
    metric(
        RETRIES_TOTAL,
        Kind::Counter,
        Unit::Count,
        &[],
        "Failed tries that were written down, to be repeated later.",
    ),
    metric(
        COMMIT_TO_ACK_SECONDS,
        Kind::Histogram { buckets: WAIT },
        Unit::Seconds,
        &["transport"],
        "From the row's time, or its available_at if that is later, to the broker's confirmation. Of a batch at most 16 \
         messages are observed.",
    ),
    metric(
        PUBLISH_SECONDS,
        Kind::Histogram { buckets: CALL },
        Unit::Seconds,
        &["path", "transport"],
        "One call of the transport with one batch, confirmations included; by a publisher (direct) or a relay (relayed).",
    ),
    metric(
        DATABASE_CLOCK_AHEAD_SECONDS,
        Kind::Gauge,
        Unit::Seconds,
        &[],
        "How far the database's clock is known to be ahead of this machine's; already taken into account in \
         commit_to_ack_seconds.",
    ),
    metric(
        WAKEUPS_TOTAL,
        Kind::Counter,
        Unit::Count,
        &["source"],
        "Hints that something was committed, by what gave them: in_process, expected (not committed yet), or the \
         name of a wake-up.",
    ),
    metric(
        POLL_INTERVAL_SECONDS,
        Kind::Gauge,
        Unit::Seconds,
        &["destination"],
        "The pause after a look at the table that finds nothing.",
    ),
    metric(
        POLL_TRANSITIONS_TOTAL,
        Kind::Counter,
        Unit::Count,
        &["from", "to"],
        "Changes of the pace of polling: burst, busy, calm, idle.",
    ),
    metric(SHARDS_OWNED, Kind::Gauge, Unit::Count, &[], "Shards that this relay owns."),
    metric(LEASE_LOST_TOTAL, Kind::Counter, Unit::Count, &[], "Shards lost without having been handed over."),
    metric(
        STALE_SETTLES_TOTAL,
        Kind::Counter,
        Unit::Count,
        &[],
        "Settles that changed nothing, because another relay had taken over.",
    ),
    metric(
        BREAKER_STATE,
        Kind::Gauge,
        Unit::Count,
        &["path", "destination"],
        "The circuit breaker of a destination: 0 closed, 1 half open (a probe is under way), 2 open. That of a publisher \
         (direct) finds out that the broker is back when there is something to publish, that of a relay (relayed) by itself.",
    ),
    metric(STORE_UP, Kind::Gauge, Unit::Count, &[], "1 while the database answers the relay, else 0."),
];

/// What [`super::StatsSampler`] reports.
pub const STATS: &[Metric] = &[
    metric(
        PENDING,
        Kind::Gauge,
        Unit::Count,
        &[],
        "Rows in outbox_messages; at count_limit: at least so many.",
    ),
    metric(
        OLDEST_AGE_SECONDS,
        Kind::Gauge,
        Unit::Seconds,
        &[],
        "Age of the oldest row in outbox_messages, by the database's clock; 0 if there is none.",
    ),
    metric(
        DEFERRED,
        Kind::Gauge,
        Unit::Count,
        &["state"],
        "Rows in outbox_deferred: delayed (never tried), retrying, held (behind another of their key).",
    ),
    metric(
        BLOCKED_KEYS,
        Kind::Gauge,
        Unit::Count,
        &[],
        "Keys that stand still: held behind a retrying message, or parked.",
    ),
    metric(
        LONGEST_BLOCKED_SECONDS,
        Kind::Gauge,
        Unit::Seconds,
        &[],
        "How long the longest-standing blocked key has stood still; 0 if there is none.",
    ),
    metric(
        DEAD_LETTERS,
        Kind::Gauge,
        Unit::Count,
        &[],
        "Rows in outbox_dead_letters; at count_limit: at least so many.",
    ),
    metric(COUNT_LIMIT, Kind::Gauge, Unit::Count, &[], "Where counting rows stops."),
    metric(
        STATS_AGE_SECONDS,
        Kind::Gauge,
        Unit::Seconds,
        &[],
        "Time since pending, oldest_age_seconds, deferred, blocked_keys and dead_letters were read.",
    ),
];

/// What a consumer reports.
pub const CONSUMER: &[Metric] = &[
    metric(
        INBOX_DUPLICATES_TOTAL,
        Kind::Counter,
        Unit::Count,
        &["consumer"],
        "Deliveries that the inbox had seen before: acknowledged, and not processed again.",
    ),
    metric(
        CONSUMER_PROCESSED_TOTAL,
        Kind::Counter,
        Unit::Count,
        &["consumer"],
        "Deliveries whose handler has succeeded and was committed.",
    ),
    metric(
        CONSUMER_RETRIES_TOTAL,
        Kind::Counter,
        Unit::Count,
        &["consumer"],
        "Deliveries whose handler has failed and that come again.",
    ),
    metric(
        CONSUMER_DEAD_TOTAL,
        Kind::Counter,
        Unit::Count,
        &["consumer"],
        "Deliveries that the consumer has given up.",
    ),
    metric(
        CONSUMER_HANDLE_SECONDS,
        Kind::Histogram { buckets: CALL },
        Unit::Seconds,
        &["consumer"],
        "One run of a handler, its transaction included.",
    ),
    metric(
        CONSUMER_IN_FLIGHT,
        Kind::Gauge,
        Unit::Count,
        &["consumer"],
        "Deliveries that a handler works on now.",
    ),
];

/// All metrics.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    RELAY.iter().chain(STATS).chain(CONSUMER)
}
