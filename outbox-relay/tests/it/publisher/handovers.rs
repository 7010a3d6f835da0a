use std::sync::Arc;
use std::time::Duration;

use outbox_core::{PublishErrorKind, StoreErrorKind};
use outbox_memory::{MemoryStore, Verdict};
use outbox_relay::Relay;
use tokio::time::Instant;

use super::desk::*;
use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_published_past_the_outbox_however_long_that_takes() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    broker.down();
    assert!(fallback(&publisher.publish(&keyed("k", 0)).await));
    broker.up();
    // No relay.
    for number in 1..10 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(fallback(&publisher.publish(&keyed("k", number)).await));
        assert!(direct(&publisher.publish(&keyed("other", number)).await), "another key is not concerned");
    }
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(direct(&publisher.publish(&keyed("k", 10)).await));
    assert_in_order(&broker.delivered());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_never_rests_is_handed_over_all_the_same() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let (publisher, relay) = with_relay(&store, &broker).await;
    broker.set_latency(Duration::from_millis(20));
    broker.down();
    for number in 0..3 {
        assert!(fallback(&publisher.publish(&keyed("k", number)).await));
    }
    broker.up();
    // Written faster than the relay delivers: if nobody waited, there would always be one in the outbox.
    let back = Instant::now();
    let mut number = 3;
    while !direct(&publisher.publish(&keyed("k", number)).await) {
        assert!(back.elapsed() < Duration::from_secs(30), "{number} messages later");
        tokio::time::sleep(Duration::from_millis(6)).await;
        number += 1;
    }
    drained(&relay).await;
    assert_eq!(broker.delivered().len(), number + 1);
    assert_in_order(&broker.delivered());
    assert_eq!(broker.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_a_key_is_handed_over_whole_or_not_at_all() {
    let mut whole = 0;
    for left in 1..20 {
        let (store, broker) = (MemoryStore::new(), plain_broker());
        store.enqueue_all(&(0..left).map(|number| keyed("k", number)).collect::<Vec<_>>());
        broker.set_latency(Duration::from_millis(15));
        store.set_latency(Duration::from_millis(3));
        let (publisher, relay) = with_relay(&store, &broker).await;
        let batch = [keyed("k", left), keyed("k", left + 1)];
        let published = publisher.publish_all(&batch).await;
        assert_eq!(direct(&published[0]), direct(&published[1]), "behind {left}");
        whole += usize::from(direct(&published[0]));
        drained(&relay).await;
        assert_eq!(numbers(&broker.delivered()), (0..left + 2).collect::<Vec<_>>());
    }
    assert!((2..18).contains(&whole), "both happen: {whole}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_waits_for_a_retry_keeps_going_through_the_outbox() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let (publisher, relay) = with_relay(&store, &broker).await;
    broker.set_behaviour(|message, nth| match number(message) {
        0 if nth <= 2 => Verdict::Fail(PublishErrorKind::Retryable),
        _ => Verdict::Accept,
    });
    assert!(fallback(&publisher.publish(&keyed("k", 0)).await));
    until("the relay has tried it", || relay.stats().retried == 1).await;
    for number in 1..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(fallback(&publisher.publish(&keyed("k", number)).await));
    }
    drained(&relay).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(direct(&publisher.publish(&keyed("k", 3)).await));
    assert_eq!(numbers(&broker.delivered()), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_parked_message_is_parked_too() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let (publisher, relay) = with_relay(&store, &broker).await;
    broker.set_behaviour(|message, nth| match number(message) {
        0 if nth == 1 => Verdict::Fail(PublishErrorKind::Retryable),
        0 => Verdict::Fail(PublishErrorKind::Rejected),
        _ => Verdict::Accept,
    });
    assert!(fallback(&publisher.publish(&keyed("k", 0)).await));
    until("it is parked", || store.dead().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(fallback(&publisher.publish(&keyed("k", 1)).await));
    assert!(direct(&publisher.publish(&keyed("other", 2)).await));
    drained(&relay).await;
    assert_eq!(numbers(&store.dead()), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_has_left_is_not_overtaken() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    store.enqueue_all(&[keyed("k", 0)]);
    let publisher = direct_first(&store, &broker).build().unwrap();
    assert!(fallback(&publisher.publish(&keyed("k", 1)).await));
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(direct(&publisher.publish(&keyed("k", 2)).await));
    assert_eq!(numbers(&broker.delivered()), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_outbox_is_asked_once() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    for number in 0..500 {
        assert!(direct(&publisher.publish(&keyed(&format!("k{number}"), 0)).await));
        assert!(direct(&publisher.publish(&unkeyed(number)).await));
    }
    assert_eq!(store.all_calls(), 2, "what is fresh, and what is held");
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_write_may_have_happened_is_not_overtaken() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    assert!(direct(&publisher.publish(&keyed("k", 0)).await));
    broker.down();
    store.lose_next_reply("enqueue", StoreErrorKind::Unavailable);
    assert!(publisher.publish(&keyed("k", 1)).await.is_err());
    // As the database has it after an answer that was lost.
    store.enqueue_all(&[keyed("k", 1)]);
    broker.up();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(direct(&publisher.publish(&unkeyed(0)).await));
    assert!(fallback(&publisher.publish(&keyed("k", 2)).await));
}

#[tokio::test(start_paused = true)]
async fn a_large_backlog_is_looked_at_now_and_then_and_nobody_waits_for_it() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    store.enqueue_all(&(0..2000).map(unkeyed).collect::<Vec<_>>());
    let publisher = direct_first(&store, &broker).build().unwrap();
    let start = Instant::now();
    let messages: Vec<_> = (0..1000).map(|n| keyed(&format!("k{n}"), 0)).collect();
    let calls = messages.iter().map(|message| publisher.publish(message));
    assert!(futures_util::future::join_all(calls).await.iter().all(fallback));
    assert!(start.elapsed() < Duration::from_millis(5), "{:?}", start.elapsed());
    assert_eq!(store.calls("claim"), 1);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(fallback(&publisher.publish(&messages[0]).await));
    assert_eq!(store.calls("claim"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_backlog_of_another_destination_is_none_of_this_one() {
    let (store, broker, other) = (MemoryStore::new(), plain_broker(), plain_broker());
    let audit = || ["audit.*".parse().unwrap()];
    let publisher =
        direct_first(&store, &broker).route("audit", audit(), Arc::new(other.clone())).build().unwrap();
    other.down();
    assert!(fallback(&publisher.publish(&to_topic("audit.x", "k", 0)).await));
    assert!(direct(&publisher.publish(&to_topic("orders", "k", 1)).await));
    other.up();
    let relay: Relay = publisher.relay().unwrap();
    let relay = start(relay).await;
    drained(&relay).await;
    assert_eq!((numbers(&broker.delivered()), numbers(&other.delivered())), (vec![1], vec![0]));
    relay.shutdown().await.unwrap();
    // The relay has not closed what the publisher goes on using.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(direct(&publisher.publish(&to_topic("audit.x", "k", 2)).await));
    assert!(direct(&publisher.publish(&to_topic("orders", "k", 3)).await));
    publisher.close(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_messages_of_many_keys_wait_for_one_look_and_are_published_at_once() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    store.set_latency(Duration::from_millis(5));
    let publisher = direct_first(&store, &broker).build().unwrap();
    let messages: Vec<_> = (0..50).map(|number| keyed(&format!("k{number}"), 0)).collect();
    let calls = messages.iter().map(|message| publisher.publish(message));
    assert!(futures_util::future::join_all(calls).await.iter().all(direct));
    assert!(store.pending().is_empty());
    // Of what an earlier process has left they hear by the same look.
    store.set_latency(Duration::ZERO);
    store.enqueue_all(&[keyed("k7", 1)]);
    store.set_latency(Duration::from_millis(5));
    let publisher = direct_first(&store, &broker).build().unwrap();
    let calls = messages.iter().map(|message| publisher.publish(message));
    let published = futures_util::future::join_all(calls).await;
    assert!(fallback(&published[7]), "behind the other of its key");
    let others = published.iter().enumerate().filter(|(number, _)| *number != 7);
    assert!(others.clone().filter(|(_, published)| direct(published)).count() == 49);
}
