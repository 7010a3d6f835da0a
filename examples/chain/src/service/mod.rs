//! The three services. Each is a process of its own with a database of its own.

pub(crate) mod billing;
pub(crate) mod mishaps;
pub(crate) mod orders;
pub(crate) mod shipping;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use outbox::relay::{Consumer, ConsumerHandle, PollConfig, Relay, RelayHandle, RetryPolicy};
use outbox::{ConsumerName, InboxAdmin, MessageHandler, OutboxStore};
use tokio::io::{AsyncReadExt, stdin};

/// Publishes what is in an outbox.
///
/// The default times suit production. Here processes are killed all the time, and their successors should not wait for
/// half a minute until the lease has run out.
async fn relay(store: Arc<dyn OutboxStore>, broker: &str) -> Result<RelayHandle> {
    let transport = outbox::connect_transport(broker).await?;
    let relay = Relay::shared(store, transport).configure(|config| {
        config.lease_ttl = Duration::from_secs(5);
        config.lease_margin = Duration::from_secs(1);
        config.publish_timeout = Duration::from_secs(2);
        // What a relay that was killed may have had under way, its successor publishes one by one: a message among it
        // might be what has killed it.
        config.window_rows = 128;
        config.retry = retry();
        config.poll = PollConfig::new(ms(50), ms(200), ms(1_000));
    });
    Ok(relay.start().await?)
}

/// Hands what a group receives to a handler.
async fn consumer(
    name: &ConsumerName,
    broker: &str,
    concurrency: usize,
    handler: impl MessageHandler,
    inbox: Arc<dyn InboxAdmin>,
) -> Result<ConsumerHandle> {
    let subscription = outbox::connect_subscription(broker).await?;
    let consumer = Consumer::new(name.clone(), subscription, handler).inbox(inbox).configure(|config| {
        config.concurrency = concurrency;
        config.retry = retry();
    });
    Ok(consumer.start()?)
}

/// Seconds instead of minutes.
fn retry() -> RetryPolicy {
    let mut retry = RetryPolicy::default();
    retry.schedule = [100, 300, 1_000].map(Duration::from_millis).to_vec();
    retry.max_attempts = 6;
    retry
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Returns when the process is to end: when its standard input is closed, which also happens when the process that has
/// started it is gone.
async fn stop() {
    let mut byte = [0];
    while !matches!(stdin().read(&mut byte).await, Ok(0) | Err(_)) {}
}
