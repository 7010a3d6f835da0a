use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{OutboxMessage, PublishErrorKind};
use outbox_memory::{MemoryStore, Verdict};
use outbox_relay::metrics::names::{self, Kind};
use outbox_relay::metrics::{Path, StatsSampler, TopicLabels, published};
use outbox_relay::{Relay, RelayConfig, RelayHandle};

use crate::gate::{Closed, Gate};
use crate::harness::*;
use crate::ledger::Ledger;

fn number_of(topic: &str, number: usize) -> OutboxMessage {
    OutboxMessage::bytes(topic, number.to_string()).unwrap().build().unwrap()
}

/// Fails at each message as its topic says.
fn scripted(message: &OutboxMessage, nth: u32) -> Verdict {
    match message.topic().as_str() {
        "refused" => Verdict::Fail(PublishErrorKind::Rejected),
        "once" if nth == 1 => Verdict::Fail(PublishErrorKind::Retryable),
        "unclear" if nth == 1 => Verdict::Fail(PublishErrorKind::Unknown),
        _ => Verdict::Accept,
    }
}

/// What two relays go through: every failure, an outage of each side, a take-over, and a long quiet.
async fn a_hard_day(store: &MemoryStore) -> (RelayHandle, RelayHandle) {
    let broker = plain_broker().with_behaviour(scripted);
    let gate = Gate::new(store);
    let mut config = RelayConfig::default();
    config.lease_ttl = Duration::from_secs(12);
    config.lease_margin = Duration::from_secs(1);
    config.publish_timeout = Duration::from_secs(6);
    let to = Arc::new(Connection(broker.clone()));
    let first = start(Relay::shared(Arc::new(gate.clone()), to.clone()).config(config.clone())).await;
    store.enqueue_all(&[number_of("refused", 0), number_of("once", 1), number_of("unclear", 2)]);
    drained(&first).await;
    // Nothing for a while: the pace slows down.
    tokio::time::sleep(Duration::from_secs(60)).await;
    first.waker().wake();
    broker.down();
    store.enqueue_all(&(0..10).map(unkeyed).collect::<Vec<_>>());
    tokio::time::sleep(Duration::from_secs(30)).await;
    broker.up();
    drained(&first).await;
    store.down();
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.up();
    // The first one can't settle what it has published, and another takes over.
    tokio::time::sleep(Duration::from_secs(10)).await;
    gate.close(Closed::Settles);
    store.enqueue_all(&(10..20).map(unkeyed).collect::<Vec<_>>());
    arrived(&broker, 2 + 10 + 10).await;
    gate.close(Closed::Everything);
    let second = start(Relay::shared(Arc::new(store.clone()), to).config(config)).await;
    drained(&second).await;
    gate.open();
    until("the stale settle was noticed", || first.stats().leases_lost > 0).await;
    until("the stale settle was counted", || first.stats().stale_settles > 0).await;
    (first, second)
}

#[tokio::test(start_paused = true)]
async fn every_metric_of_a_relay_moves() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let _relays = a_hard_day(&MemoryStore::new()).await;
    ledger.assert_moved(names::RELAY);
    for kind in ["unavailable", "unknown", "retryable", "rejected"] {
        let series = format!("{}{{kind={kind},path=relayed,transport=plain}}", names::PUBLISH_ERRORS_TOTAL);
        assert!(ledger.total(&series) > 0.0, "{series}");
    }
    let transitions =
        |from, to| ledger.total(&format!("{}{{from={from},to={to}}}", names::POLL_TRANSITIONS_TOTAL));
    for (from, to) in [("busy", "calm"), ("calm", "idle"), ("idle", "burst"), ("burst", "busy")] {
        assert!(transitions(from, to) > 0.0, "{from} to {to}");
    }
    let mut levels = ledger.values(&format!("{}{{destination=plain,path=relayed}}", names::BREAKER_STATE));
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    assert_eq!(levels, [0.0, 1.0, 2.0], "closed, half open, open");
}

#[tokio::test(start_paused = true)]
async fn all_metrics_are_described_with_unit_and_help() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let _relay = relay(&MemoryStore::new(), &plain_broker()).await;
    let described = ledger.described();
    let mut seen = BTreeSet::new();
    for metric in names::all() {
        assert!(seen.insert(metric.name), "{} is listed twice", metric.name);
        let (unit, help) = described.get(metric.name).unwrap_or_else(|| panic!("{}", metric.name));
        assert_eq!((*unit, help.as_str()), (Some(metric.unit), metric.help));
        assert!(metric.name.starts_with("outbox_"));
        assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        assert_eq!(
            metric.unit == metrics::Unit::Seconds,
            metric.name.ends_with("_seconds"),
            "{}",
            metric.name
        );
    }
}

#[tokio::test(start_paused = true)]
async fn counters_say_exactly_what_happened() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(scripted);
    let relay = relay(&store, &broker).await;
    let mut messages: Vec<_> = (0..700).map(|n| number_of("orders", n)).collect();
    messages.extend((0..50).map(|n| number_of("once", n)));
    messages.extend((0..30).map(|n| number_of("refused", n)));
    store.enqueue_all(&messages);
    drained(&relay).await;
    let confirmed = |topic| {
        ledger.total(&format!("{}{{path=relayed,topic={topic},transport=plain}}", names::PUBLISHED_TOTAL))
    };
    assert_eq!((confirmed("orders"), confirmed("once"), confirmed("refused")), (700.0, 50.0, 0.0));
    assert_eq!(ledger.total(names::RETRIES_TOTAL), 50.0);
    assert_eq!(ledger.total(&format!("{}{{reason=rejected}}", names::DEAD_TOTAL)), 30.0);
    let errors = |kind| {
        ledger.total(&format!("{}{{kind={kind},path=relayed,transport=plain}}", names::PUBLISH_ERRORS_TOTAL))
    };
    assert_eq!((errors("retryable"), errors("rejected"), errors("unknown")), (50.0, 30.0, 0.0));
    // `drained` wakes the relay, too.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let before = ledger.total(&format!("{}{{source=in_process}}", names::WAKEUPS_TOTAL));
    (0..5).for_each(|_| relay.waker().wake());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(ledger.total(&format!("{}{{source=in_process}}", names::WAKEUPS_TOTAL)) - before, 5.0);
    drop(relay);
    published(Path::Fallback, "plain", "orders".into(), 3);
    assert_eq!(
        ledger.total(&format!("{}{{path=fallback,topic=orders,transport=plain}}", names::PUBLISHED_TOTAL)),
        3.0
    );
}

#[tokio::test(start_paused = true)]
async fn many_topics_are_few_series() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let store = MemoryStore::new();
    let relay = relay(&store, &plain_broker()).await;
    store.enqueue_all(&(0..1000).map(|n| number_of(&format!("user.{n}"), n)).collect::<Vec<_>>());
    drained(&relay).await;
    let series = ledger.series();
    let published: Vec<_> = series.iter().filter(|series| series.name == names::PUBLISHED_TOTAL).collect();
    assert_eq!(published.len(), TopicLabels::MOST + 1);
    assert_eq!(published.iter().flat_map(|series| series.values()).sum::<f64>(), 1000.0);
}

#[tokio::test(start_paused = true)]
async fn the_recorder_is_asked_per_batch_and_not_per_message() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (lookups, batches) = (ledger.lookups(), broker.publishes());
    store.enqueue_all(&(0..20_000).map(|n| number_of("orders", n)).collect::<Vec<_>>());
    arrived(&broker, 20_000).await;
    let batches = usize::try_from(broker.publishes() - batches).unwrap();
    let lookups = ledger.lookups() - lookups;
    assert!(batches < 200, "{batches} batches");
    // Messages, duration, ages, and now and then the clock, the pace or the leases.
    assert!(lookups <= batches * 6, "{lookups} for {batches} batches");
    let ages = ledger.values(&format!("{}{{transport=plain}}", names::COMMIT_TO_ACK_SECONDS));
    assert!(ages.len() <= batches * 16, "{} ages of {batches} batches", ages.len());
    assert!(ages.len() >= batches * 8);
    drop(relay);
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_comes_late_sees_the_gauges_soon() {
    let _relay = relay(&MemoryStore::new(), &plain_broker()).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(
        ledger.last(&format!("{}{{destination=plain,path=relayed}}", names::BREAKER_STATE)),
        Some(0.0)
    );
    assert_eq!(ledger.last(&format!("{}{{destination=plain}}", names::POLL_INTERVAL_SECONDS)), Some(5.0));
    assert_eq!(ledger.last(names::SHARDS_OWNED), Some(16.0));
    assert_eq!(ledger.last(names::STORE_UP), Some(1.0));
    // Counters that never counted stand at 0, so that their first event is an increase.
    assert_eq!(ledger.last(names::LEASE_LOST_TOTAL), Some(0.0));
    assert_eq!(ledger.last(&format!("{}{{reason=rejected}}", names::DEAD_TOTAL)), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn gauges_of_the_table_keep_their_values_while_the_database_is_away() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let store = MemoryStore::new();
    // Ended with the request that started it, as a request may be.
    let sampler = tokio::spawn({
        let store = store.clone();
        async move { StatsSampler::new(Arc::new(store)).count_limit(100).start() }
    });
    let sampler = sampler.await.unwrap();
    store.enqueue_all(&(0..7).map(|n| keyed("k", n)).collect::<Vec<_>>());
    tokio::time::sleep(Duration::from_secs(31)).await;
    let broker = plain_broker().with_behaviour(|message, _| match number(message) {
        3 => Verdict::Fail(PublishErrorKind::Rejected),
        4 => Verdict::Fail(PublishErrorKind::Retryable),
        _ => Verdict::Accept,
    });
    assert_eq!((ledger.last(names::PENDING), ledger.last(names::BLOCKED_KEYS)), (Some(7.0), Some(0.0)));
    assert_eq!(ledger.last(names::OLDEST_AGE_SECONDS), Some(30.0));
    assert!(ledger.last(names::STATS_AGE_SECONDS).unwrap() < 1.0);

    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    store.enqueue_all(&[keyed("other", 4), keyed("other", 5)]);
    until("it is retrying", || relay.stats().retried > 0).await;
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(ledger.last(names::DEAD_LETTERS), Some(4.0), "one and what is parked behind it");
    assert_eq!(ledger.last(names::BLOCKED_KEYS), Some(2.0));
    drop(relay);

    // Away, in both ways: it refuses, and it does not answer at all.
    store.down();
    tokio::time::sleep(Duration::from_secs(100)).await;
    let failure = sampler.latest().failure.unwrap();
    assert!(failure.text.contains("stats"), "{failure:?}");
    assert_eq!(ledger.last(names::DEAD_LETTERS), Some(4.0));
    let age = ledger.last(names::STATS_AGE_SECONDS).unwrap();
    assert!((85.0..=116.0).contains(&age), "{age}");
    store.up();
    store.set_latency(Duration::from_secs(1000));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(ledger.last(names::STATS_AGE_SECONDS).unwrap() > age);
    assert_eq!(sampler.latest().failure.unwrap().text, "no answer within 5s");
    store.set_latency(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(ledger.last(names::STATS_AGE_SECONDS).unwrap() < 1.0);
    assert_eq!(sampler.latest().failure, None);
    // A backlog beyond the limit is counted no further.
    store.enqueue_all(&(0..500).map(unkeyed).collect::<Vec<_>>());
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!((ledger.last(names::PENDING), ledger.last(names::COUNT_LIMIT)), (Some(100.0), Some(100.0)));
    // Nor by one that is told to count further.
    drop(sampler);
    let _sampler = StatsSampler::new(Arc::new(store)).count_limit(200).start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((ledger.last(names::PENDING), ledger.last(names::COUNT_LIMIT)), (Some(200.0), Some(200.0)));
    ledger.assert_moved(names::STATS);
}
