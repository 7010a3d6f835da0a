use std::time::Duration;

use humantime::format_duration;
use outbox_relay::RetryPolicy;

use super::setting::{Loaded, SettingValue};
use super::{Config, ConfigError, ConfigOrigin, ConfigWarning, DeliveryMode};
use crate::scheme::scheme_of;

/// What keys mean for each other.
///
/// # Errors
///
/// Values that do not go together, each with where it comes from.
pub(super) fn complete(config: &mut Config) -> Result<(), ConfigError> {
    follow_enabled(config);
    check_relay(config)?;
    limit_poll(config)?;
    check_wakeups(config)?;
    check_inbox(config)
}

/// Without an outbox there is one way left.
fn follow_enabled(config: &mut Config) {
    if !config.enabled && config.mode != DeliveryMode::Direct {
        config.mode = DeliveryMode::Direct;
        follows(config, "mode", "enabled", SettingValue::Text("direct".to_owned()));
    }
}

/// Nobody who makes the longest interval short should have to think of the other two; who sets them means it.
fn limit_poll(config: &mut Config) -> Result<(), ConfigError> {
    const IDLE: &str = "relay.poll.idle";
    let idle = config.relay.poll.idle;
    for (key, span) in
        [("relay.poll.busy", config.relay.poll.busy), ("relay.poll.calm", config.relay.poll.calm)]
    {
        if span <= idle {
            continue;
        }
        if config.loaded.contains_key(key) {
            let limit = format!("it must be no longer than {IDLE} ({})", format_duration(idle));
            return Err(wrong(config, key, format_duration(span), limit));
        }
        let poll = &mut config.relay.poll;
        *(if key == "relay.poll.busy" { &mut poll.busy } else { &mut poll.calm }) = idle;
        follows(config, key, IDLE, SettingValue::Text(format_duration(idle).to_string()));
    }
    Ok(())
}

fn check_relay(config: &Config) -> Result<(), ConfigError> {
    config
        .relay
        .validate([])
        .map_err(|error| wrong(config, &format!("relay.{}", error.field), error.value, error.expected))
}

fn check_wakeups(config: &Config) -> Result<(), ConfigError> {
    const URL: &str = "wakeups.redis_url";
    const SERVICE: &str = "wakeups.service";
    if let Some(service) = &config.wakeups.service {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=128).contains(&service.len()) || !service.chars().all(plain) {
            let shown = super::redact::shown_value(&service.as_str().into());
            return Err(wrong(config, SERVICE, shown, "allowed: 1 to 128 letters, digits, - _ ."));
        }
    }
    if let Some(url) = &config.wakeups.redis_url {
        if !matches!(scheme_of(url).as_deref(), Some("redis" | "rediss")) {
            let shown = super::redact::shown_url(url);
            return Err(wrong(config, URL, shown, "allowed: a URL that begins with redis:// or rediss://"));
        }
        if config.wakeups.service.is_none() {
            let (origin, needed_by) = origin(config, URL);
            return Err(ConfigError::Missing { origin, key: SERVICE.to_owned(), needed_by });
        }
    }
    Ok(())
}

fn check_inbox(config: &mut Config) -> Result<(), ConfigError> {
    let retention = config.inbox.retention;
    if retention.is_zero() {
        return Err(wrong(config, "inbox.retention", "0s", "it must be longer than that"));
    }
    let longest_retry = longest_retry(&config.relay.retry);
    let broker_retention = config.inbox.broker_retention.unwrap_or_default();
    if retention < longest_retry.saturating_add(broker_retention) {
        config.warnings.push(ConfigWarning::ShortRetention { retention, longest_retry, broker_retention });
    }
    Ok(())
}

/// From the first try of a message to its last: each pause of the schedule at its longest, the last one as often as
/// there are tries left. At least the whole schedule, because a message may carry its own number of tries.
fn longest_retry(retry: &RetryPolicy) -> Duration {
    let last = retry.schedule.last().copied().unwrap_or_default();
    let scheduled: Duration = retry.schedule.iter().sum();
    let pauses = usize::from(retry.max_attempts.saturating_sub(1));
    let more = u32::try_from(pauses.saturating_sub(retry.schedule.len())).unwrap_or(u32::MAX);
    let pauses = scheduled.saturating_add(last.saturating_mul(more));
    Duration::try_from_secs_f64(pauses.as_secs_f64() * (1.0 + retry.jitter)).unwrap_or(Duration::MAX)
}

fn follows(config: &mut Config, key: &str, leader: &'static str, value: SettingValue) {
    let loaded = Loaded { origin: ConfigOrigin::Follows(leader), written: key.to_owned(), value };
    config.loaded.insert(key.to_owned(), loaded);
}

fn origin(config: &Config, key: &str) -> (ConfigOrigin, String) {
    let loaded = config.loaded.get(key);
    loaded.map_or_else(
        || (ConfigOrigin::Default, key.to_owned()),
        |loaded| (loaded.origin.clone(), loaded.written.clone()),
    )
}

fn wrong(config: &Config, key: &str, value: impl ToString, allowed: impl Into<String>) -> ConfigError {
    let (origin, key) = origin(config, key);
    ConfigError::WrongValue { origin, key, value: value.to_string(), allowed: allowed.into() }
}
