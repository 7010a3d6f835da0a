use std::time::Duration;

use outbox_core::TransportCapabilities;

use crate::policy::{RetryPolicy, TopicPolicies};

/// How a relay works. The defaults suit production; every field is documented with its unit and its default.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RelayConfig {
    /// What to call this relay in `outbox status`. Default: host name and process id.
    pub label: String,
    /// Rows per claim at most. Default 1,000.
    pub batch_size: usize,
    /// Rows in memory at most, per destination. Default 8,192.
    pub window_rows: usize,
    /// Bytes of messages in memory at most, per destination; one claim may exceed it by one message. Default 32 MiB.
    pub window_bytes: usize,
    /// Rows of one key in memory at most; what exceeds it waits in `outbox_deferred`, so that one hot key can't keep
    /// all others out. Default 4,096.
    pub window_per_key: usize,
    /// Held keys in memory at most, per destination; beyond that they are looked up with each claim. Default 100,000.
    pub max_held_keys: usize,
    /// Calls of [`outbox_core::Transport::publish`] at once, per destination. Default 4.
    pub concurrency: usize,
    /// When to look for rows without a hint.
    pub poll: PollConfig,
    /// The shortest pause between two sweeps for late commits. Default 250 ms.
    pub sweep_interval: Duration,
    /// How often the whole table is looked through, whatever is believed about it. Default 60 s.
    pub backstop_interval: Duration,
    /// How long a lease lasts, by the database's clock. Default 30 s. A statement that takes longer than half of
    /// `lease_ttl` − `lease_margin` is given up together with its connection, and tried again.
    pub lease_ttl: Duration,
    /// A lease is not trusted for this last part of its time. Default 5 s.
    pub lease_margin: Duration,
    /// A call of [`outbox_core::Transport::publish`] that takes longer has an unknown outcome. Default 10 s.
    pub publish_timeout: Duration,
    /// How long [`crate::RelayHandle::shutdown`] waits for what is under way. Leases are released and transports closed
    /// within what is left of it, or within two seconds each. Default 20 s.
    pub shutdown_timeout: Duration,
    /// The first pause of the circuit breaker; it doubles up to `breaker_longest`. Default 250 ms.
    pub breaker_first: Duration,
    /// The longest pause of the circuit breaker: how late the relay notices that a broker is back. Default 3 s.
    pub breaker_longest: Duration,
    /// When a failed message is tried again, and when it is given up.
    pub retry: RetryPolicy,
    /// What becomes of a key whose message is given up.
    pub on_dead: TopicPolicies,
}

/// Intervals of polling without hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PollConfig {
    /// Shortly after there were rows. Default 100 ms.
    pub busy: Duration,
    /// After ten empty looks. Default 1 s.
    pub calm: Duration,
    /// After ten more. Default 5 s; writers that give no hint wait this long at most.
    pub idle: Duration,
}

impl PollConfig {
    /// Busy, calm and idle intervals.
    #[must_use]
    pub const fn new(busy: Duration, calm: Duration, idle: Duration) -> Self {
        Self { busy, calm, idle }
    }
}

impl Default for PollConfig {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5))
    }
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            label: default_label(),
            batch_size: 1_000,
            window_rows: 8_192,
            window_bytes: 32 * 1024 * 1024,
            window_per_key: 4_096,
            max_held_keys: 100_000,
            concurrency: 4,
            poll: PollConfig::default(),
            sweep_interval: Duration::from_millis(250),
            backstop_interval: Duration::from_secs(60),
            lease_ttl: Duration::from_secs(30),
            lease_margin: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(20),
            breaker_first: Duration::from_millis(250),
            breaker_longest: Duration::from_secs(3),
            retry: RetryPolicy::default(),
            on_dead: TopicPolicies::default(),
        }
    }
}

fn default_label() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "relay".to_owned());
    format!("{host}:{}", std::process::id())
}

/// A configuration that could lose order or duplicate without bound. Names the field, its value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("relay configuration: {field} is {value}, {expected}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is allowed, and why.
    pub expected: String,
}

impl RelayConfig {
    /// How often leases are renewed: a third of their time, at most every 5 s.
    #[must_use]
    pub fn renew_interval(&self) -> Duration {
        (self.lease_ttl / 3).min(Duration::from_secs(5))
    }

    /// How long a call of the store may take: half of the time that a lease is trusted. A connection that has fallen
    /// silent is given up while there is time for another try.
    pub(crate) fn store_timeout(&self) -> Duration {
        self.lease_ttl.saturating_sub(self.lease_margin) / 2
    }

    /// Checks every field, and the ladder of time-outs:
    ///
    /// client's longest send < `publish_timeout` < `lease_ttl` − `lease_margin` − renewal; a renewal is a third of `lease_ttl`,
    /// at most 5 s.
    ///
    /// A publish that could outlast the lease would let a successor overtake it.
    ///
    /// # Errors
    ///
    /// The first [`ConfigError`] found.
    pub fn validate<'a>(
        &self,
        transports: impl IntoIterator<Item = &'a TransportCapabilities>,
    ) -> Result<(), ConfigError> {
        at_least_one("batch_size", self.batch_size)?;
        at_least_one("window_rows", self.window_rows)?;
        at_least_one("window_bytes", self.window_bytes)?;
        at_least_one("window_per_key", self.window_per_key)?;
        at_least_one("max_held_keys", self.max_held_keys)?;
        at_least_one("concurrency", self.concurrency)?;
        at_least_one("retry.max_attempts", self.retry.max_attempts.into())?;
        if self.retry.schedule.is_empty() {
            return Err(wrong("retry.schedule", "empty", "at least one pause is needed"));
        }
        if !(0.0..=1.0).contains(&self.retry.jitter) {
            return Err(wrong("retry.jitter", self.retry.jitter, "a fraction from 0 to 1 is needed"));
        }
        for (field, value) in [
            ("poll.busy", self.poll.busy),
            ("poll.calm", self.poll.calm),
            ("poll.idle", self.poll.idle),
            ("sweep_interval", self.sweep_interval),
            ("backstop_interval", self.backstop_interval),
            ("breaker_first", self.breaker_first),
            ("breaker_longest", self.breaker_longest),
            ("publish_timeout", self.publish_timeout),
        ] {
            if value.is_zero() {
                return Err(wrong(field, "0 s", "it must be longer than that"));
            }
        }
        if self.lease_margin >= self.lease_ttl {
            let expected = format!("it must be shorter than lease_ttl ({:?})", self.lease_ttl);
            return Err(wrong("lease_margin", format!("{:?}", self.lease_margin), expected));
        }
        let trusted = self.lease_ttl - self.lease_margin;
        // A renewal may come a third of the lease late; a publish must fit into what is then left.
        let left = trusted.saturating_sub(self.renew_interval());
        if self.publish_timeout >= left {
            let expected = format!(
                "it must be shorter than lease_ttl - lease_margin - renewal ({left:?}), or a message could still be \
                 under way when another relay takes over"
            );
            return Err(wrong("publish_timeout", format!("{:?}", self.publish_timeout), expected));
        }
        for transport in transports {
            if transport.max_send_time >= self.publish_timeout {
                let expected = format!(
                    "it must be longer than the longest send of the {} client ({:?})",
                    transport.name, transport.max_send_time
                );
                return Err(wrong("publish_timeout", format!("{:?}", self.publish_timeout), expected));
            }
        }
        Ok(())
    }
}

fn at_least_one(field: &'static str, value: usize) -> Result<(), ConfigError> {
    if value == 0 { Err(wrong(field, 0, "at least 1 is needed")) } else { Ok(()) }
}

fn wrong(field: &'static str, value: impl ToString, expected: impl Into<String>) -> ConfigError {
    ConfigError { field, value: value.to_string(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(RelayConfig::default().validate([&TransportCapabilities::new("x")]), Ok(()));
    }

    #[test]
    fn a_wrong_ladder_is_refused() {
        let slow = TransportCapabilities::new("slow").max_send_time(Duration::from_secs(10));
        let error = RelayConfig::default().validate([&slow]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "relay configuration: publish_timeout is 10s, it must be longer than the longest send of the slow client \
             (10s)"
        );
        let short = RelayConfig { lease_ttl: Duration::from_secs(15), ..RelayConfig::default() };
        assert_eq!(short.validate([]).unwrap_err().field, "publish_timeout");
        let none = RelayConfig { lease_margin: Duration::from_secs(30), ..RelayConfig::default() };
        assert_eq!(none.validate([]).unwrap_err().field, "lease_margin");
    }

    #[test]
    fn zeros_are_refused() {
        let config = RelayConfig { batch_size: 0, ..RelayConfig::default() };
        assert_eq!(config.validate([]).unwrap_err().field, "batch_size");
        let config = RelayConfig { sweep_interval: Duration::ZERO, ..RelayConfig::default() };
        assert_eq!(config.validate([]).unwrap_err().field, "sweep_interval");
    }
}
