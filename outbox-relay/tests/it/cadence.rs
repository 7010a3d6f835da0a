use std::time::Duration;

use outbox_memory::MemoryStore;
use tokio::time::Instant;

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn an_idle_relay_asks_the_database_less_than_once_a_second() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    store.enqueue_all(&(0..10).map(unkeyed).collect::<Vec<_>>());
    drained(&relay).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = store.all_calls();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let calls = store.all_calls() - before;
    assert!(calls <= 600, "{calls} calls in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn without_hints_a_message_waits_for_the_idle_interval_at_most() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let _relay = relay(&store, &broker).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    store.enqueue_all(&[unkeyed(0)]);
    let committed = Instant::now();
    arrived(&broker, 1).await;
    assert!(committed.elapsed() <= Duration::from_secs(5), "{:?}", committed.elapsed());
    // And soon after that, for a tenth of a second.
    store.enqueue_all(&[unkeyed(1)]);
    let committed = Instant::now();
    arrived(&broker, 2).await;
    assert!(committed.elapsed() <= Duration::from_millis(150), "{:?}", committed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_the_database_no_more_than_idling() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let _relay = relay(&store, &broker).await;
    broker.down();
    store.enqueue_all(&(0..20_000).map(unkeyed).collect::<Vec<_>>());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (calls, publishes) = (store.all_calls(), broker.publishes());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(store.all_calls() - calls <= 600, "{} calls in ten minutes", store.all_calls() - calls);
    assert!(
        broker.publishes() - publishes <= 220,
        "{} probes in ten minutes",
        broker.publishes() - publishes
    );
}
