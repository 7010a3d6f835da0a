//! Kafka goes away and comes back under load, with a broker and a Redis of the test's own.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

use std::time::Duration;

use direct_first::{Call, Database, Kafka, Outage, Outcome, Run};
use outbox::relay::PublishPath;
use outbox_conformance::servers::Server;
use outbox_conformance::started;
use tokio::sync::Mutex;

/// They share the metrics of the process, and the cores of the machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

fn count(calls: &[Call], path: PublishPath) -> usize {
    calls.iter().filter(|call| call.path == Some(path)).count()
}

/// 200 scans a second, and Kafka is away for a while. `None`, with a word about it, if a service is missing.
async fn run(outage: Outage, down: Duration) -> Option<Outcome> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut kafka = started("Kafka (tansu)", Kafka::start().await.unwrap())?;
    let redis = started("redis-server", Server::redis(&[]).await)?;
    let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
    let url = url.as_deref().unwrap_or("postgres://postgres@127.0.0.1:5432/postgres");
    let database = started("PostgreSQL", Database::create(url).await.ok())?;
    let run = Run { rate: 200, before: Duration::from_secs(2), down, after: Duration::from_secs(2), outage };
    let redis_url = format!("redis://127.0.0.1:{}", redis.port());
    let variables = [
        // In which the relay looks every 5 s when nothing happens: without hints, messages would wait for that long.
        ("ENVIRONMENT", "production"),
        ("OUTBOX_WAKEUPS_REDIS_URL", redis_url.as_str()),
        ("OUTBOX_WAKEUPS_SERVICE", "gates"),
        ("OUTBOX_WAKEUPS_LISTEN", "false"),
    ];
    let outcome = run.run(&mut kafka, &database, &variables).await;
    database.remove().await.unwrap();
    Some(outcome.unwrap())
}

fn proves(outcome: &Outcome) {
    let Outcome { report, before, outage, after, .. } = outcome;
    assert_eq!((report.failed, outcome.error.as_deref()), (0, None));
    report.verdict().unwrap();
    // In normal operation nothing is stored, before and after; in between the outage was noticed.
    assert!(before.len() > 300 && after.len() > 300, "{} and {}", before.len(), after.len());
    assert_eq!(
        (count(before, PublishPath::Direct), count(after, PublishPath::Direct)),
        (before.len(), after.len())
    );
    assert!(count(outage, PublishPath::Fallback) > 100, "{report:?}");
    let mut took: Vec<Duration> = before.iter().map(|call| call.took).collect();
    took.sort_unstable();
    // The relay would look every 5 s.
    assert!(
        took[took.len() / 2] < Duration::from_millis(500),
        "half of the calls take {:?}",
        took[took.len() / 2]
    );
    assert_eq!(outcome.relay.delivered, report.fallback);
    assert!(outcome.hints > 0, "the relay was woken by Redis");
    assert!(outcome.transitions > 0, "and changes its pace");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_kafka_is_stopped_and_started_under_load() {
    // Longer than the client waits for an answer: what is shorter is only a delay.
    let Some(outcome) = run(Outage::Refused, Duration::from_secs(8)).await else { return };
    proves(&outcome);
}

/// Who waits for an answer does not know of the outage before the time-out; from then on nobody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_kafka_falls_silent_under_load() {
    let Some(outcome) = run(Outage::Silent, Duration::from_secs(5)).await else { return };
    proves(&outcome);
    let longest = outcome.outage.iter().map(|call| call.took).max().unwrap();
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}
