//! Many workers, one row.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Isolation, OutboxMessage, TransactionPolicy};
use tokio::time::Instant;

use super::TransactionFixture;
use super::work::{accounts, body, waiting};

/// All workers increment the same row and enqueue its new version, serializable; then each one a row of its own. What is
/// committed is in the outbox and nothing else, and the versions of each key are in their order.
///
/// `OUTBOX_STORM_WORKERS` (8) and `OUTBOX_STORM_ROUNDS` (5) make it a measurement; it prints the throughput of both.
pub async fn a_hot_key_loses_nothing<F: TransactionFixture>(fixture: Arc<F>) {
    let mut look = accounts(&*fixture).await;
    let (workers, rounds) = (setting("OUTBOX_STORM_WORKERS", 8), setting("OUTBOX_STORM_ROUNDS", 5));
    let hot = storm(&fixture, workers, rounds, |_| 1).await;
    let sharded = storm(&fixture, workers, rounds, |worker| 2 + worker % 99).await;
    report(workers, rounds, hot, sharded);

    let total = i64::try_from(2 * workers * rounds).unwrap();
    let mut versions: HashMap<String, i64> = HashMap::new();
    let rows = waiting(&*fixture).await;
    assert_eq!(i64::try_from(rows.len()).unwrap(), total, "committed is what is in the outbox");
    for row in rows {
        let key = row.message.ordering_key().unwrap().as_str().to_owned();
        let version: i64 = std::str::from_utf8(row.message.payload()).unwrap().parse().unwrap();
        let last = versions.entry(key.clone()).or_default();
        assert_eq!(version, *last + 1, "the versions of account {key} have neither gap nor phantom");
        *last = version;
    }
    for (key, version) in versions {
        let sql = format!("SELECT version FROM accounts WHERE id = {key}");
        assert_eq!(look.number(&sql).await.unwrap(), version, "account {key}");
    }
}

async fn storm<F: TransactionFixture>(
    fixture: &Arc<F>,
    workers: usize,
    rounds: usize,
    account: fn(usize) -> usize,
) -> Duration {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..workers {
        let (fixture, id) = (Arc::clone(fixture), account(worker));
        tasks.spawn(async move {
            for _ in 0..rounds {
                let work = body(move |scope| {
                    Box::pin(async move {
                        let update = format!("UPDATE accounts SET version = version + 1 WHERE id = {id}");
                        scope.execute(&update).await?;
                        let version =
                            scope.number(&format!("SELECT version FROM accounts WHERE id = {id}")).await?;
                        let message = OutboxMessage::bytes("suite.storm", version.to_string()).unwrap();
                        scope.add(message.ordering_key(id).build().unwrap());
                        Ok(())
                    })
                });
                let policy = TransactionPolicy::new()
                    .isolation(Isolation::Serializable)
                    .attempts(10_000)
                    .pauses(Duration::from_millis(1), Duration::from_millis(50));
                fixture.transaction(policy, work).await.unwrap();
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    started.elapsed()
}

pub(crate) fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[expect(clippy::print_stderr, clippy::cast_precision_loss, reason = "the figures are for whoever runs it")]
fn report(workers: usize, rounds: usize, hot: Duration, sharded: Duration) {
    let rate = |time: Duration| (workers * rounds) as f64 / time.as_secs_f64();
    eprintln!(
        "{workers} workers, {rounds} transactions each: one key {:.0}/s, sharded keys {:.0}/s",
        rate(hot),
        rate(sharded)
    );
}
