//! Hints for relays in other processes.

#[cfg(feature = "sqlx-postgres")]
use std::time::Duration;

use crate::{Config, ConnectError};

/// Sends one. It never waits and never fails.
pub(super) type Notify = Box<dyn Fn() + Send + Sync>;

/// What the configuration names, in the order in which it is asked: PostgreSQL, Redis. Nothing is connected before there is
/// something to say.
pub(super) fn notifiers(config: &Config) -> Result<Vec<Notify>, ConnectError> {
    let mut notifiers = Vec::new();
    notifiers.extend(by_postgres(config)?);
    notifiers.extend(by_redis(config)?);
    Ok(notifiers)
}

#[cfg(feature = "sqlx-postgres")]
fn by_postgres(config: &Config) -> Result<Option<Notify>, ConnectError> {
    let Some(url) = config.store.url.as_deref().filter(|_| config.wakeups.listen) else {
        return Ok(None);
    };
    // A busy application has something to say all the time; an idle one need not keep a connection.
    let Some(pool) = crate::wakeup::lazy_pool(url, Duration::from_secs(60))? else {
        return Ok(None);
    };
    let notifier = outbox_sqlx::PostgresNotifier::new(&pool, &config.table_names()?);
    Ok(Some(Box::new(move || notifier.notify())))
}

#[cfg(not(feature = "sqlx-postgres"))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail with the feature")]
fn by_postgres(_: &Config) -> Result<Option<Notify>, ConnectError> {
    Ok(None)
}

#[cfg(feature = "redis")]
fn by_redis(config: &Config) -> Result<Option<Notify>, ConnectError> {
    let (Some(url), Some(service)) = (&config.wakeups.redis_url, &config.wakeups.service) else {
        return Ok(None);
    };
    let refused = |error: outbox_core::BrokerConfigError| ConnectError::Transport(error.into());
    let redis = url.parse().map_err(refused)?;
    let notifier = outbox_redis::RedisNotifier::new(&redis, service).map_err(refused)?;
    Ok(Some(Box::new(move || notifier.notify())))
}

#[cfg(not(feature = "redis"))]
fn by_redis(config: &Config) -> Result<Option<Notify>, ConnectError> {
    match config.wakeups.redis_url {
        Some(_) => Err(ConnectError::FeatureOff { scheme: "redis", feature: "redis" }),
        None => Ok(None),
    }
}
