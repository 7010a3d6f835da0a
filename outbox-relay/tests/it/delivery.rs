use std::sync::Arc;
use std::time::Duration;

use outbox_core::{OutboxMessage, StoreErrorKind, TransportCapabilities};
use outbox_memory::{MemoryStore, MemoryTransport};
use outbox_relay::Relay;
use tokio::time::Instant;

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn committed_messages_arrive_once_and_in_order_rolled_back_ones_never() {
    for broker in [plain_broker(), MemoryTransport::new()] {
        let store = MemoryStore::new();
        let mut committed = Vec::new();
        for number in 0..200 {
            for key in 0..20 {
                let message = keyed(&format!("key-{key}"), number);
                let mut transaction = store.begin();
                transaction.enqueue(&message);
                if (number + key) % 10 == 0 {
                    transaction.rollback();
                } else {
                    transaction.commit();
                    committed.push(message);
                }
            }
        }
        let relay = relay(&store, &broker).await;
        drained(&relay).await;
        assert_once(&broker.delivered(), &committed);
        assert_in_order(&broker.delivered());
        assert_eq!(broker.violations(), Vec::<String>::new());
        let stats = relay.shutdown().await.unwrap();
        assert_eq!(stats.delivered, committed.len() as u64);
        // Set-based: far fewer settles than messages.
        assert!(stats.settles < stats.delivered / 10, "{stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_without_a_key_share_a_batch_with_keyed_ones() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let messages: Vec<OutboxMessage> =
        (0..500).map(|n| if n % 2 == 0 { unkeyed(n) } else { keyed("only", n) }).collect();
    store.enqueue_all(&messages);
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
}

#[tokio::test(start_paused = true)]
async fn without_pipelined_order_a_key_has_one_message_under_way_and_many_keys_go_at_once() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    broker.set_latency(Duration::from_millis(10));
    let messages: Vec<_> = (0..10).flat_map(|n| (0..100).map(move |k| keyed(&format!("k{k}"), n))).collect();
    store.enqueue_all(&messages);
    let start = Instant::now();
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    // Ten rounds of 10 ms, not a thousand.
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert_in_order(&broker.delivered());
    assert_eq!(broker.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_hint_after_the_commit_is_followed_at_once() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    // Long enough that polling has slowed down to its idle interval.
    tokio::time::sleep(Duration::from_secs(60)).await;
    store.enqueue_all(&[keyed("k", 0)]);
    let committed = Instant::now();
    relay.waker().wake();
    arrived(&broker, 1).await;
    assert!(committed.elapsed() < Duration::from_millis(5), "{:?}", committed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wakeup_is_a_hint_too() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone())).wakeup(store.wakeup());
    let _relay = start(relay).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    store.enqueue_all(&[keyed("k", 0)]);
    let committed = Instant::now();
    arrived(&broker, 1).await;
    assert!(committed.elapsed() < Duration::from_millis(5), "{:?}", committed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_what_is_under_way_and_burns_nothing() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    broker.set_latency(Duration::from_secs(2));
    let messages: Vec<_> = (0..2000).map(|n| keyed(&format!("k{n}"), 0)).collect();
    store.enqueue_all(&messages);
    let first = relay(&store, &broker).await;
    until("messages are under way", || broker.publishes() > 0).await;
    let stats = first.shutdown().await.unwrap();
    assert!(stats.delivered > 0 && stats.delivered < 2000);
    assert_eq!(store.pending().len() as u64, 2000 - stats.delivered, "what was sent is settled");

    let second_broker = plain_broker();
    let started = Instant::now();
    let second = relay(&store, &second_broker).await;
    drained(&second).await;
    assert!(started.elapsed() < Duration::from_secs(5), "the leases were released: {:?}", started.elapsed());
    let all: Vec<_> = broker.delivered().into_iter().chain(second_broker.delivered()).collect();
    assert_once(&all, &messages);
}

#[tokio::test(start_paused = true)]
async fn relays_share_the_shards_and_hand_over_without_duplicates() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    broker.set_latency(Duration::from_millis(20));
    let mut messages = Vec::new();
    let mut relays = vec![relay(&store, &broker).await];
    for round in 0..60 {
        let batch: Vec<_> = (0..50).map(|k| keyed(&format!("k{k}"), round)).collect();
        store.enqueue_all(&batch);
        messages.extend(batch);
        match round {
            10 | 20 => relays.push(relay(&store, &broker).await),
            40 => drop(relays.remove(0)),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(900)).await;
        if round == 39 {
            let shares: Vec<u64> = relays.iter().map(|relay| relay.stats().shards).collect();
            assert_eq!(shares.iter().sum::<u64>(), 16);
            assert!(shares.iter().all(|share| (4..=6).contains(share)), "{shares:?}");
        }
    }
    drained(&relays[0]).await;
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
    assert_eq!(relays.iter().map(|relay| relay.stats().stale_settles).sum::<u64>(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_hot_key_does_not_keep_the_others_out() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    broker.set_latency(Duration::from_millis(10));
    let hot: Vec<_> = (0..3000).map(|n| keyed("hot", n)).collect();
    store.enqueue_all(&hot);
    let others: Vec<_> = (0..100).map(|k| keyed(&format!("cold{k}"), 0)).collect();
    store.enqueue_all(&others);
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone())).configure(|config| {
        config.window_rows = 1000;
        config.window_per_key = 200;
        config.batch_size = 100;
    });
    let relay = start(relay).await;
    let is_cold = |message: &OutboxMessage| message.ordering_key().unwrap().as_str() != "hot";
    until("the cold keys are delivered", || broker.delivered().iter().filter(|m| is_cold(m)).count() == 100)
        .await;
    let hot_before = broker.delivered().len() - 100;
    assert!(hot_before < 500, "{hot_before} messages of the hot key went first");
    drained(&relay).await;
    let all: Vec<_> = hot.into_iter().chain(others).collect();
    assert_once(&broker.delivered(), &all);
    assert_in_order(&broker.delivered());
}

/// To wait a moment costs less than to move what is in the way.
#[tokio::test(start_paused = true)]
async fn a_hot_key_that_flows_is_not_moved() {
    let store = MemoryStore::new();
    let capabilities = TransportCapabilities::new("pipelined").pipelined_order(true).max_batch(100);
    let broker = MemoryTransport::new().with_capabilities(capabilities.max_in_flight(1000));
    broker.set_latency(Duration::from_millis(10));
    let hot: Vec<_> = (0..3000).map(|n| keyed("hot", n)).collect();
    store.enqueue_all(&hot);
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone())).configure(|config| {
        config.window_rows = 1000;
        config.window_per_key = 200;
        config.batch_size = 50;
    });
    let relay = start(relay).await;
    drained(&relay).await;
    assert_once(&broker.delivered(), &hot);
    assert_in_order(&broker.delivered());
    assert_eq!(relay.stats().held, 0);
}

#[tokio::test(start_paused = true)]
async fn large_messages_stay_within_the_budget_of_memory() {
    let store = MemoryStore::new();
    let broker = MemoryTransport::new()
        .with_capabilities(TransportCapabilities::new("wide").max_batch(10_000).max_in_flight(10_000));
    broker.set_latency(Duration::from_millis(5));
    let large = bytes::Bytes::from(vec![7; 500_000]);
    let messages: Vec<_> = (0..100)
        .map(|n| {
            OutboxMessage::bytes("orders", large.clone())
                .unwrap()
                .ordering_key(format!("k{n}"))
                .build()
                .unwrap()
        })
        .collect();
    store.enqueue_all(&messages);
    let largest = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = Arc::clone(&largest);
    let started = Arc::new(std::sync::Mutex::new((Instant::now(), 0_usize)));
    broker.set_behaviour(move |_, _| {
        let mut window = started.lock().unwrap();
        if window.0 != Instant::now() {
            *window = (Instant::now(), 0);
        }
        window.1 += 1;
        seen.fetch_max(window.1, std::sync::atomic::Ordering::Relaxed);
        outbox_memory::Verdict::Accept
    });
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()))
        .configure(|config| config.window_bytes = 4_000_000);
    let relay = start(relay).await;
    drained(&relay).await;
    assert_once(&broker.delivered(), &messages);
    let largest = largest.load(std::sync::atomic::Ordering::Relaxed);
    assert!((2..=10).contains(&largest), "{largest} messages of 500 kB at once, with a budget of 4 MB");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_could_not_be_released_is_released_later() {
    let store = MemoryStore::with_shards(8);
    let broker = plain_broker();
    let first = relay(&store, &broker).await;
    until("one relay has all", || first.stats().shards == 8).await;
    for _ in 0..4 {
        store.fail_next("release", StoreErrorKind::Unavailable);
    }
    let second = relay(&store, &broker).await;
    until("they share", || first.stats().shards == 4 && second.stats().shards == 4).await;
    assert!(store.calls("release") >= 8, "{} releases", store.calls("release"));
    let messages: Vec<_> = (0..200).map(|n| keyed(&format!("k{n}"), n)).collect();
    store.enqueue_all(&messages);
    drained(&first).await;
    assert_once(&broker.delivered(), &messages);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_one_at_a_time_gets_those_without_a_key_too() {
    let store = MemoryStore::new();
    let broker = MemoryTransport::new()
        .with_capabilities(TransportCapabilities::new("narrow").max_batch(1).max_in_flight(1));
    let with_key: Vec<_> = (0..100).map(|n| keyed(&format!("k{n}"), n)).collect();
    let without: Vec<_> = (100..110).map(unkeyed).collect();
    store.enqueue_all(&[with_key, without].concat());
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    let delivered = broker.delivered();
    let (first, _) = delivered.split_at(20);
    assert_eq!(numbers(first).iter().filter(|number| **number >= 100).count(), 10, "they take turns");
}

#[test]
fn a_handle_may_be_dropped_outside_of_the_runtime() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (store, broker) = (MemoryStore::new(), plain_broker());
    broker.set_latency(Duration::from_millis(50));
    let relay = runtime.block_on(async {
        let relay = relay(&store, &broker).await;
        store.enqueue_all(&[unkeyed(1)]);
        until("it is under way", || broker.publishes() == 1).await;
        relay
    });
    let monitor = relay.monitor();
    drop(relay);
    runtime.block_on(until("the relay has ended", || !monitor.status().running));
    assert_eq!(numbers(&broker.delivered()), [1]);
    assert_eq!(store.pending(), [], "it was settled");
}
