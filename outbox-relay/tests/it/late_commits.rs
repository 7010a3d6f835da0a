//! Messages of one producer, one transaction after the other, among those of others that commit earlier and later.

use std::time::Duration;

use outbox_memory::MemoryStore;

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn a_late_commit_is_not_overtaken_by_the_next_message_of_its_key() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    for round in 0..20 {
        let mut first = store.begin();
        first.enqueue(&keyed("k", 2 * round));
        // Somebody else's message moves the cursor past it.
        store.enqueue_all(&[unkeyed(round)]);
        relay.waker().wake();
        arrived(&broker, 3 * round + 1).await;
        first.commit();
        store.enqueue_all(&[keyed("k", 2 * round + 1)]);
        relay.waker().wake();
        arrived(&broker, 3 * round + 3).await;
    }
    assert_in_order(&broker.delivered());
    assert_eq!(broker.delivered().len(), 60);
    assert_eq!(relay.stats().late_commits, 20);
}

#[tokio::test(start_paused = true)]
async fn many_producers_of_a_key_each_keep_their_order() {
    // Each producer writes to a key of its own, in transactions of its own length, all of them overlapping with others.
    let store = MemoryStore::new();
    let broker = plain_broker();
    broker.set_latency(Duration::from_millis(3));
    let relay = relay(&store, &broker).await;
    let producers = (0..20u64).map(|producer| {
        let (store, waker) = (store.clone(), relay.waker());
        tokio::spawn(async move {
            let key = format!("k{producer}");
            for number in 0..50 {
                let mut transaction = store.begin();
                transaction.enqueue(&keyed(&key, 2 * number));
                tokio::time::sleep(Duration::from_millis(1 + producer * 7 % 40)).await;
                transaction.enqueue(&keyed(&key, 2 * number + 1));
                transaction.commit();
                waker.wake();
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.await.unwrap();
    }
    drained(&relay).await;
    assert_eq!(broker.delivered().len(), 2_000);
    assert_in_order(&broker.delivered());
}
