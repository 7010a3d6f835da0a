//! What a publisher tells the recorder.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{OutboxMessage, PublishErrorKind};
use outbox_memory::{MemoryStore, Verdict};
use outbox_relay::Publisher;
use outbox_relay::metrics::names;

use super::desk::*;
use crate::harness::*;
use crate::ledger::Ledger;

fn errors(kind: &str) -> String {
    format!("{}{{kind={kind},path=direct,transport=plain}}", names::PUBLISH_ERRORS_TOTAL)
}

fn breaker() -> String {
    format!("{}{{destination=plain,path=direct}}", names::BREAKER_STATE)
}

fn calls() -> String {
    format!("{}{{path=direct,transport=plain}}", names::PUBLISH_SECONDS)
}

fn published(path: &str) -> String {
    format!("{}{{path={path},topic=orders,transport=plain}}", names::PUBLISHED_TOTAL)
}

/// Each number fails in its own way.
fn scripted(message: &OutboxMessage, _: u32) -> Verdict {
    match number(message) {
        1 => Verdict::Fail(PublishErrorKind::Rejected),
        2 => Verdict::Fail(PublishErrorKind::Retryable),
        3 => Verdict::Fail(PublishErrorKind::Unknown),
        _ => Verdict::Accept,
    }
}

#[tokio::test(start_paused = true)]
async fn every_metric_of_direct_publishes_moves_and_adds_up() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let (store, broker) = (MemoryStore::new(), plain_broker().with_behaviour(scripted));
    broker.set_latency(Duration::from_millis(3));
    let publisher = direct_first(&store, &broker).build().unwrap();
    for number in [0, 1, 2, 0] {
        let _ = publisher.publish(&unkeyed(number)).await;
    }
    // In one call, so that one unclear outcome among others is no outage.
    let batch: Vec<_> = [3, 0, 0].into_iter().map(unkeyed).collect();
    publisher.publish_all(&batch).await;
    assert_eq!(ledger.values(&breaker()), [0.0], "told when it was made");
    broker.down();
    publisher.publish(&unkeyed(0)).await.unwrap();
    // Known to be away: nothing is tried, so nothing fails.
    publisher.publish(&unkeyed(0)).await.unwrap();
    assert_eq!(ledger.values(&breaker()), [0.0, 2.0]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    publisher.publish(&unkeyed(0)).await.unwrap();
    assert_eq!(ledger.values(&breaker()), [0.0, 2.0, 1.0, 2.0], "a probe that fails");
    broker.up();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(direct(&publisher.publish(&unkeyed(0)).await));
    assert_eq!(ledger.values(&breaker())[3..6], [2.0, 1.0, 0.0], "and one that does not");

    for (kind, count) in [("rejected", 1.0), ("retryable", 1.0), ("unknown", 1.0), ("unavailable", 2.0)] {
        assert_eq!(ledger.total(&errors(kind)), count, "{kind}");
    }
    let took = ledger.values(&calls());
    assert_eq!(took.len(), usize::try_from(broker.publishes()).unwrap());
    assert!(took.iter().filter(|seconds| **seconds >= 0.003).count() >= 6, "{took:?}");
    assert_eq!(ledger.total(&published("direct")), 5.0);
    assert_eq!(ledger.total(&published("fallback")), 5.0);
    let stats = publisher.stats();
    assert_eq!((stats.direct, stats.fallback, stats.rejected), (5, 5, 1));
    ledger.assert_moved(names::RELAY.iter().filter(|metric| metric.labels.contains(&"path")));
    // Described like those of a relay, though none was started.
    assert!(ledger.described().contains_key(names::PUBLISH_SECONDS));
}

#[tokio::test(start_paused = true)]
async fn a_relay_beside_it_counts_for_itself() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let (publisher, relay) = with_relay(&store, &broker).await;
    broker.down();
    publisher.publish(&unkeyed(0)).await.unwrap();
    broker.up();
    drained(&relay).await;
    let relayed = |name: &str, labels: &str| format!("{name}{{{labels}path=relayed,transport=plain}}");
    assert_eq!(ledger.total(&errors("unavailable")), 1.0);
    assert_eq!(ledger.values(&calls()).len(), 1);
    assert!(!ledger.values(&relayed(names::PUBLISH_SECONDS, "")).is_empty());
    // The one has noticed the outage, the other has been told nothing of it.
    assert_eq!(ledger.last(&breaker()), Some(2.0));
    let of_relay = format!("{}{{destination=plain,path=relayed}}", names::BREAKER_STATE);
    assert_eq!(ledger.last(&of_relay), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn the_recorder_is_asked_twice_per_call_and_not_per_message() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    let before = ledger.lookups();
    for number in 0..1000 {
        publisher.publish(&unkeyed(number)).await.unwrap();
    }
    // How long it took, and what became of it.
    assert_eq!(ledger.lookups() - before, 2000);
    let (before, calls) = (ledger.lookups(), broker.publishes());
    let batch: Vec<_> = (0..10_000).map(unkeyed).collect();
    publisher.publish_all(&batch).await;
    let calls = usize::try_from(broker.publishes() - calls).unwrap();
    assert_eq!(ledger.lookups() - before, calls + 1);
    assert!(calls < 100, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_comes_late_sees_the_circuit_breaker_with_the_next_message() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    publisher.publish(&unkeyed(0)).await.unwrap();
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    publisher.publish(&unkeyed(1)).await.unwrap();
    assert_eq!(ledger.last(&breaker()), None, "it was told a moment ago");
    tokio::time::sleep(Duration::from_secs(6)).await;
    publisher.publish(&unkeyed(2)).await.unwrap();
    assert_eq!(ledger.last(&breaker()), Some(0.0));
    assert_eq!(ledger.last(&errors("unknown")), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn without_an_outbox_there_are_errors_and_times_and_no_circuit_breaker() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let broker = plain_broker();
    let publisher = Publisher::direct(Arc::new(Connection(broker.clone()))).build().unwrap();
    publisher.publish(&unkeyed(0)).await.unwrap();
    broker.down();
    publisher.publish(&unkeyed(1)).await.unwrap_err();
    assert_eq!((ledger.total(&errors("unavailable")), ledger.values(&calls()).len()), (1.0, 2));
    assert_eq!((ledger.total(&published("direct")), ledger.last(&breaker())), (1.0, None));
}

#[tokio::test(start_paused = true)]
async fn routes_are_told_apart() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let store = MemoryStore::new();
    let (broker, audit) = (plain_broker(), plain_broker());
    let route = Arc::new(Connection(audit.clone()));
    let publisher =
        direct_first(&store, &broker).route("audit", ["audit.*".parse().unwrap()], route).build().unwrap();
    audit.down();
    publisher.publish(&to_topic("audit.login", "k", 0)).await.unwrap();
    publisher.publish(&unkeyed(0)).await.unwrap();
    let of_route = format!("{}{{destination=audit,path=direct}}", names::BREAKER_STATE);
    assert_eq!((ledger.last(&of_route), ledger.last(&breaker())), (Some(2.0), Some(0.0)));
}
