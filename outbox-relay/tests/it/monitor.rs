use std::sync::Arc;
use std::time::Duration;

use outbox_core::{PublishErrorKind, TopicPattern};
use outbox_memory::{MemoryStore, Verdict};
use outbox_relay::{BreakerState, Relay};

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn a_monitor_tells_what_does_not_work_and_since_when() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    let monitor = relay.monitor();
    until("it has its leases", || monitor.status().leases.shards == 16).await;
    let status = monitor.status();
    assert_eq!((status.leases.of, status.leases.trusted), (16, true));
    assert!(status.running && !status.stopping && status.store.is_none(), "{status:?}");
    let [destination] = &status.destinations[..] else { panic!("{status:?}") };
    assert_eq!((&*destination.name, destination.transport), ("plain", "plain"));
    assert_eq!((destination.breaker, destination.open_since), (BreakerState::Closed, None));
    assert_eq!(destination.last_error, None);

    broker.down();
    store.enqueue_all(&[unkeyed(0)]);
    let breaker = || monitor.status().destinations[0].clone();
    until("the breaker is open", || breaker().breaker == BreakerState::Open).await;
    let since = breaker().open_since.unwrap();
    assert!(breaker().last_error.unwrap().error.contains("down"), "{:?}", breaker());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(breaker().open_since, Some(since), "probes do not begin the outage anew");
    broker.up();
    drained(&relay).await;
    assert_eq!((breaker().breaker, breaker().open_since), (BreakerState::Closed, None));
    assert!(breaker().last_error.is_some(), "what was the matter can be read afterwards");

    store.down();
    until("the database is missed", || monitor.status().store.is_some()).await;
    assert!(monitor.status().leases.trusted);
    let outage = monitor.status().store.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!monitor.status().leases.trusted, "they ran out");
    assert_eq!(monitor.status().store.unwrap().since, outage.since);
    store.up();
    until("it is back", || monitor.status().store.is_none() && monitor.status().leases.trusted).await;

    relay.shutdown().await.unwrap();
    assert!(!monitor.status().running && monitor.status().stopping);
    assert_eq!(monitor.stats().delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn each_destination_is_told_apart() {
    let store = MemoryStore::new();
    let (good, bad) = (plain_broker(), plain_broker());
    bad.set_behaviour(|_, _| Verdict::Fail(PublishErrorKind::Unavailable));
    let pattern: TopicPattern = "bad".parse().unwrap();
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(good.clone()));
    let relay = start(relay.route("other side", [pattern], Arc::new(bad))).await;
    store.enqueue_all(&[to_topic("bad", "k", 0), to_topic("good", "k", 1)]);
    arrived(&good, 1).await;
    let monitor = relay.monitor();
    until("one is open", || monitor.status().destinations[0].breaker != BreakerState::Closed).await;
    let status = monitor.status();
    let names: Vec<_> = status.destinations.iter().map(|destination| &*destination.name).collect();
    assert_eq!(names, ["other side", "plain"]);
    assert_eq!(status.destinations[1].breaker, BreakerState::Closed);
    relay.abort();
    until("it is gone", || !monitor.status().running).await;
}
