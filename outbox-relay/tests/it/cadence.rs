use std::time::Duration;

use outbox_core::CommitHint;
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

/// A writer in its user's own transaction says when it wrote. What is committed some time after that is found within as much
/// time again, and a millisecond or two.
#[tokio::test(start_paused = true)]
async fn what_is_expected_is_found_soon_after_its_commit() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    for (count, open) in [0, 1, 2, 5, 20, 60].map(Duration::from_millis).into_iter().enumerate() {
        // Idle again: it would not look for seconds.
        tokio::time::sleep(Duration::from_secs(120)).await;
        relay.waker().expected();
        tokio::time::sleep(open).await;
        store.enqueue_all(&[unkeyed(count)]);
        let committed = Instant::now();
        arrived(&broker, count + 1).await;
        let limit = open + Duration::from_millis(2);
        assert!(committed.elapsed() <= limit, "open for {open:?}: {:?}", committed.elapsed());
    }
}

/// Others may commit meanwhile; the one that was expected is looked for all the same.
#[tokio::test(start_paused = true)]
async fn what_is_expected_is_found_although_others_are_found_first() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    relay.waker().expected();
    tokio::time::sleep(Duration::from_millis(2)).await;
    store.enqueue_all(&[unkeyed(0)]);
    relay.waker().wake();
    arrived(&broker, 1).await;
    tokio::time::sleep(Duration::from_millis(6)).await;
    store.enqueue_all(&[unkeyed(1)]);
    let committed = Instant::now();
    arrived(&broker, 2).await;
    assert!(committed.elapsed() <= Duration::from_millis(10), "{:?}", committed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_rollback_costs_some_empty_looks_and_no_more() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    // Not a whole number of the intervals at which it looks for other things.
    tokio::time::sleep(Duration::from_millis(121_500)).await;
    let before = relay.stats().reads;
    // Rolled back at once, a hundred times within a moment.
    for _ in 0..100 {
        relay.waker().expected();
    }
    tokio::time::sleep(Duration::from_millis(128)).await;
    let burst = relay.stats().reads - before;
    assert!((7..=9).contains(&burst), "{burst} reads: after 1, 2, 4 … 64 ms");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let later = relay.stats().reads - before;
    assert!(later <= 600, "{later} reads in ten minutes");
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
