//! The interleavings that lose, double or reorder messages in outboxes that get them wrong. Each was seen to fail with
//! the rule that it guards taken out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outbox_core::{OperatorAction, OutboxAdmin, OutboxMessage, PublishErrorKind, TransportCapabilities};
use outbox_memory::{MemoryStore, MemoryTransport, Verdict};
use outbox_relay::{Relay, RelayError, RelayHandle};
use tokio::time::Instant;

use crate::gate::{Closed, Gate};
use crate::harness::*;

/// Relays with a short lease, so that take-overs come soon.
async fn quick(store: Arc<dyn outbox_core::OutboxStore>, broker: &MemoryTransport) -> RelayHandle {
    let relay = Relay::shared(store, Arc::new(Connection(broker.clone()))).configure(|config| {
        config.lease_ttl = Duration::from_secs(6);
        config.lease_margin = Duration::from_millis(500);
        config.publish_timeout = Duration::from_secs(2);
    });
    start(relay).await
}

fn quick_broker() -> MemoryTransport {
    let capabilities = TransportCapabilities::new("plain").max_send_time(Duration::from_secs(1));
    MemoryTransport::new().with_capabilities(capabilities)
}

#[tokio::test(start_paused = true)]
async fn a_stale_relay_cannot_bury_what_its_successor_delivers() {
    let store = MemoryStore::new();
    let messages: Vec<_> = (0..10).map(|n| keyed(&format!("k{n}"), n)).collect();
    store.enqueue_all(&messages);
    let gate = Gate::new(&store);
    gate.close(Closed::Settles);
    let refusing = quick_broker().with_behaviour(|_, _| Verdict::Fail(PublishErrorKind::Rejected));
    let stale = quick(Arc::new(gate.clone()), &refusing).await;
    until("it has judged them", || stale.stats().dead == 10).await;
    gate.close(Closed::Everything);

    let broker = quick_broker();
    let successor = quick(Arc::new(store.clone()), &broker).await;
    drained(&successor).await;
    gate.open();
    until("its settle has come through", || stale.stats().stale_settles > 0).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_once(&broker.delivered(), &messages);
    assert_eq!(store.dead(), []);
    assert_eq!(stale.stats().stale_rows, 10);
}

#[tokio::test(start_paused = true)]
async fn a_paused_relay_settles_nothing_and_duplicates_stay_within_its_window() {
    let store = MemoryStore::new();
    let broker = quick_broker();
    broker.set_latency(Duration::from_millis(5));
    let gate = Gate::new(&store);
    let paused = quick(Arc::new(gate.clone()), &broker).await;
    let messages: Vec<_> = (0..5000).map(|n| keyed(&format!("k{}", n % 100), n)).collect();
    store.enqueue_all(&messages);
    arrived(&broker, 1000).await;
    gate.close(Closed::Everything);
    let successor = quick(Arc::new(store.clone()), &broker).await;
    tokio::time::sleep(Duration::from_secs(13)).await;
    gate.open();
    drained(&successor).await;
    until("the stale settle was counted", || paused.stats().stale_settles > 0).await;
    let delivered = broker.delivered();
    let doubled = delivered.len() - messages.len();
    assert!(doubled <= 8192, "{doubled} duplicates");
    assert_in_order(&delivered);
    assert!(paused.stats().leases_lost > 0);
    // It goes on as an equal once it has noticed.
    until("it has shards again", || paused.stats().shards > 0).await;
    let more: Vec<_> = (5000..6000).map(|n| keyed(&format!("k{}", n % 100), n)).collect();
    store.enqueue_all(&more);
    drained(&successor).await;
    assert!(store.dead().is_empty());
    assert_in_order(&broker.delivered());
}

#[tokio::test(start_paused = true)]
async fn a_read_that_began_before_a_settle_brings_nothing_back() {
    // Answers are under way for 40 ms, so every read returns rows that are settled meanwhile; relays come and go, so
    // the table is read from the start again and again.
    let store = MemoryStore::new();
    let broker = quick_broker();
    broker.set_latency(Duration::from_millis(7));
    let mut slow = Gate::new(&store);
    slow.reply_latency = Duration::from_millis(40);
    let keeper = quick(Arc::new(slow.clone()), &broker).await;
    let mut messages = Vec::new();
    for round in 0..12 {
        let visitor = quick(Arc::new(slow.clone()), &broker).await;
        for step in 0..20 {
            let batch: Vec<_> = (0..20).map(|k| keyed(&format!("k{k}"), round * 20 + step)).collect();
            store.enqueue_all(&batch);
            messages.extend(batch);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        visitor.shutdown().await.unwrap();
    }
    drained(&keeper).await;
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
}

/// These wait behind the first, which failed, and are read four at a time. The store takes 10 ms for each answer.
async fn released(gate: &Gate, broker: &MemoryTransport, messages: &[OutboxMessage]) -> RelayHandle {
    let relay = Relay::shared(Arc::new(gate.clone()), Arc::new(Connection(broker.clone())))
        .configure(|config| config.batch_size = 4);
    let relay = start(relay).await;
    let store = gate.store();
    store.enqueue_all(messages);
    let waiting = messages.len() - 1;
    until("they wait behind the first", || relay.stats().held == waiting as u64).await;
    until("the first is settled", || store.deferred().len() == waiting).await;
    relay
}

fn slow_gate() -> Gate {
    let mut gate = Gate::new(&MemoryStore::new());
    gate.reply_latency = Duration::from_millis(10);
    gate
}

fn fails_the_first_at_first() -> MemoryTransport {
    MemoryTransport::new().with_behaviour(|message, nth| match (number(message), nth) {
        (0, 1) => Verdict::Fail(PublishErrorKind::Retryable),
        _ => Verdict::Accept,
    })
}

#[tokio::test(start_paused = true)]
async fn a_page_of_a_released_key_follows_the_settle_of_the_one_before() {
    let (mut gate, broker) = (slow_gate(), fails_the_first_at_first());
    // So a read that began before a settle ends after it, and has found only what is settled by then.
    gate.settle_latency = Some(Duration::from_millis(5));
    let messages: Vec<_> = (0..401).map(|n| keyed("k", n)).collect();
    let _relay = released(&gate, &broker, &messages).await;
    let begin = Instant::now();
    until("all are delivered", || broker.delivered().len() == messages.len()).await;
    // 100 pages, with a read and a settle of each. A pause of 100 ms between them would be 10 seconds.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_settled_is_not_read_in_circles() {
    let (gate, broker) = (slow_gate(), fails_the_first_at_first());
    let messages: Vec<_> = (0..20).map(|n| keyed("k", n)).collect();
    let relay = released(&gate, &broker, &messages).await;
    gate.close(Closed::Settles);
    until("a page of them is delivered", || broker.delivered().len() == 5).await;
    let reads = relay.stats().reads;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let reads = relay.stats().reads - reads;
    // One each 100 ms, and the usual looks for new messages. One after the other, these would be 500.
    assert!(reads < 100, "{reads} reads in 5 seconds");
    gate.open();
    drained(&relay).await;
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_below_the_cursor_is_found_by_the_sweep() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()))
        .configure(|config| config.backstop_interval = Duration::from_secs(24 * 3600));
    let relay = start(relay).await;
    let mut slow = store.begin();
    slow.enqueue(&unkeyed(0));
    store.enqueue_all(&[unkeyed(1)]);
    arrived(&broker, 1).await;
    // Hours of other traffic do not push it out of sight.
    for number in 2..200 {
        store.enqueue_all(&[unkeyed(number)]);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let committed = Instant::now();
    slow.commit();
    arrived(&broker, 200).await;
    assert!(committed.elapsed() <= Duration::from_secs(5), "{:?}", committed.elapsed());
    assert_eq!(relay.stats().late_commits, 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_page_of_rows_in_flight_does_not_hide_a_late_commit() {
    let store = MemoryStore::new();
    let broker = MemoryTransport::new()
        .with_capabilities(TransportCapabilities::new("wide").max_batch(20_000).max_in_flight(20_000));
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone())).configure(|config| {
        config.window_rows = 20_000;
        config.concurrency = 20;
        config.lease_ttl = Duration::from_secs(600);
        config.publish_timeout = Duration::from_secs(300);
    });
    let _relay = start(relay).await;
    broker.set_latency(Duration::from_secs(200));
    store.enqueue_all(&(0..8000).map(unkeyed).collect::<Vec<_>>());
    let mut slow = store.begin();
    slow.enqueue(&keyed("late", 8000));
    store.enqueue_all(&(8001..9001).map(unkeyed).collect::<Vec<_>>());
    until("all of them are under way", || broker.publishes() > 0).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    broker.set_latency(Duration::ZERO);
    slow.commit();
    let committed = Instant::now();
    arrived(&broker, 1).await;
    assert!(committed.elapsed() <= Duration::from_secs(6), "{:?}", committed.elapsed());
    assert_eq!(numbers(&broker.delivered()), [8000]);
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_of_a_key_in_flight_waits_for_it_and_then_takes_its_place() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    broker.set_latency(Duration::from_secs(4));
    let relay = relay(&store, &broker).await;
    let mut slow = store.begin();
    slow.enqueue(&keyed("k", 1));
    store.enqueue_all(&[keyed("k", 2), keyed("k", 3), keyed("k", 4)]);
    until("the first is under way", || broker.publishes() == 1).await;
    slow.commit();
    drained(&relay).await;
    assert_eq!(numbers(&broker.delivered()), [2, 1, 3, 4]);
    assert_eq!(broker.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_successor_knows_held_keys_before_it_reads_their_rows() {
    let store = MemoryStore::new();
    let broker = quick_broker();
    let failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&failing);
    broker.set_behaviour(move |message, _| {
        let victim = message.ordering_key().unwrap().as_str() == "held" && number(message) == 0;
        if victim && fails.load(Ordering::Relaxed) {
            Verdict::Fail(PublishErrorKind::Retryable)
        } else {
            Verdict::Accept
        }
    });
    let first = quick(Arc::new(store.clone()), &broker).await;
    store.enqueue_all(&(0..5).map(|n| keyed("held", n)).collect::<Vec<_>>());
    until("the key is held", || store.deferred().len() == 5).await;
    first.abort();
    // Committed while nobody works, and the first thing that the successor could read.
    store.enqueue_all(&(5..10).map(|n| keyed("held", n)).collect::<Vec<_>>());
    let successor = quick(Arc::new(store.clone()), &broker).await;
    until("they have joined the others", || store.deferred().len() == 10).await;
    assert_eq!(broker.delivered(), []);
    failing.store(false, Ordering::Relaxed);
    drained(&successor).await;
    assert_eq!(numbers(&broker.delivered()), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_successor_knows_parked_keys_too() {
    let store = MemoryStore::new();
    let broker = quick_broker().with_behaviour(|message, _| match number(message) {
        0 => Verdict::Fail(PublishErrorKind::Rejected),
        _ => Verdict::Accept,
    });
    let first = quick(Arc::new(store.clone()), &broker).await;
    store.enqueue_all(&[keyed("parked", 0), keyed("parked", 1)]);
    until("the key is parked", || store.dead().len() == 2).await;
    first.abort();
    store.enqueue_all(&[keyed("parked", 2)]);
    let successor = quick(Arc::new(store.clone()), &broker).await;
    drained(&successor).await;
    assert_eq!(numbers(&store.dead()), [0, 1, 2]);
    assert_eq!(broker.delivered(), []);
}

#[tokio::test(start_paused = true)]
async fn more_held_keys_than_fit_are_looked_up_with_each_claim() {
    let store = MemoryStore::new();
    let broker = quick_broker().with_behaviour(|message, _| match number(message) {
        0 => Verdict::Fail(PublishErrorKind::Rejected),
        _ => Verdict::Accept,
    });
    let first = quick(Arc::new(store.clone()), &broker).await;
    store.enqueue_all(&(0..50).map(|k| keyed(&format!("k{k}"), 0)).collect::<Vec<_>>());
    until("all are parked", || store.dead().len() == 50).await;
    first.shutdown().await.unwrap();
    let successor = Relay::shared(Arc::new(store.clone()), Arc::new(Connection(broker.clone())))
        .configure(|config| config.max_held_keys = 10);
    let successor = start(successor).await;
    store.enqueue_all(&(0..50).map(|k| keyed(&format!("k{k}"), 1)).collect::<Vec<_>>());
    store.enqueue_all(&[keyed("free", 1)]);
    drained(&successor).await;
    assert_eq!(store.dead().len(), 100);
    assert_eq!(broker.delivered().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_parked_while_it_runs_are_looked_up_too_when_they_are_too_many() {
    let store = MemoryStore::new();
    let broker = quick_broker().with_behaviour(|message, _| match number(message) {
        0 => Verdict::Fail(PublishErrorKind::Rejected),
        _ => Verdict::Accept,
    });
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()))
        .configure(|config| config.max_held_keys = 10);
    let relay = start(relay).await;
    let first: Vec<_> = (0..50).map(|k| keyed(&format!("k{k}"), 0)).collect();
    store.enqueue_all(&first);
    until("all are parked", || store.dead().len() == 50).await;
    let before = store.calls("holds");
    store.enqueue_all(&(0..50).map(|k| keyed(&format!("k{k}"), 1)).collect::<Vec<_>>());
    store.enqueue_all(&[keyed("free", 1)]);
    drained(&relay).await;
    assert_eq!(store.dead().len(), 100);
    assert_eq!(broker.delivered().len(), 1);
    assert!(store.calls("holds") > before, "they are in memory, beyond their limit");
    // Of a key that is not in memory, too, one that is discarded lets nothing go but itself.
    let follower = store.dead().into_iter().find(|message| number(message) == 1).unwrap();
    store.request(&[*follower.id()], OperatorAction::Discard).await.unwrap();
    until("it is gone", || store.dead().len() == 99).await;
    let key = follower.ordering_key().unwrap().as_str();
    store.enqueue_all(&[keyed(key, 2)]);
    drained(&relay).await;
    assert_eq!(store.dead().len(), 100, "the key is parked all the same");
    broker.set_behaviour(|_, _| Verdict::Accept);
    let head = first.iter().find(|message| message.ordering_key() == follower.ordering_key()).unwrap();
    store.request(&[*head.id()], OperatorAction::Replay).await.unwrap();
    arrived(&broker, 3).await;
    assert_eq!(numbers(&broker.delivered()), [1, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_broker_stops_nobody_else_and_fills_no_memory() {
    let store = MemoryStore::new();
    let (dead, live) = (plain_broker(), plain_broker());
    dead.down();
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(live.clone()))
        .route("audit", ["audit.*".parse().unwrap()], Arc::new(dead.clone()))
        .configure(|config| {
            config.window_rows = 8000;
            config.batch_size = 100;
        });
    let relay = start(relay).await;
    let audit: Vec<_> = (0..3000).map(|n| to_topic("audit.orders", "k", n)).collect();
    let orders: Vec<_> = (0..3000).map(|n| to_topic("orders", &format!("k{}", n % 50), n)).collect();
    store.enqueue_all(&audit);
    store.enqueue_all(&orders);
    let started = Instant::now();
    arrived(&live, 3000).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Thirty claims for the one that is up, a few empty looks, and hardly any for the one that is away.
    assert!(store.calls("claim") < 55, "{} claims", store.calls("claim"));
    let reads = relay.stats().reads;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(relay.stats().reads - reads < 120, "nothing is claimed for a destination that is away");
    let stats = relay.stats();
    assert_eq!((stats.retried, stats.dead, stats.held), (0, 0, 0), "{stats:?}");
    dead.up();
    drained(&relay).await;
    assert_once(&dead.delivered(), &audit);
    assert_in_order(&dead.delivered());
    assert_once(&live.delivered(), &orders);
}

#[tokio::test(start_paused = true)]
async fn a_message_for_a_moment_later_comes_a_moment_later() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let _relay = relay(&store, &broker).await;
    let (idle, due) = (Duration::from_secs(3), Duration::from_secs(2));
    tokio::time::sleep(idle).await;
    // It counts from the time of day, which does not pass here.
    let later = OutboxMessage::bytes("orders", "1").unwrap().delay(idle + due).build().unwrap();
    store.enqueue_all(&[later]);
    let begin = Instant::now();
    arrived(&broker, 1).await;
    let off = begin.elapsed().abs_diff(due);
    assert!(off < Duration::from_millis(100), "after {:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_message_for_later_uses_no_attempt_and_queues_when_it_falls_due() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    let later = OutboxMessage::bytes("orders", "1")
        .unwrap()
        .ordering_key("k")
        .delay(Duration::from_secs(600))
        .max_attempts(1)
        .build()
        .unwrap();
    let past = OutboxMessage::bytes("orders", "2")
        .unwrap()
        .ordering_key("k")
        .available_at(std::time::SystemTime::UNIX_EPOCH)
        .build()
        .unwrap();
    let enqueued = Instant::now();
    store.enqueue_all(&[keyed("k", 0), later, past, keyed("k", 3)]);
    arrived(&broker, 3).await;
    assert_eq!(numbers(&broker.delivered()), [0, 2, 3]);
    arrived(&broker, 4).await;
    let waited = enqueued.elapsed();
    assert!((599..=606).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(number(&broker.delivered()[3]), 1);
    drained(&relay).await;
    assert_eq!(relay.stats().retried, 0);
    // A successor that finds it in the deferred table waits for its time as well.
    let hour = Duration::from_secs(3600);
    let later = OutboxMessage::bytes("orders", "4").unwrap().delay(hour).build().unwrap();
    store.enqueue_all(&[later]);
    until("it waits", || store.deferred().len() == 1).await;
    relay.shutdown().await.unwrap();
    let enqueued = Instant::now();
    let _successor = crate::harness::relay(&store, &broker).await;
    arrived(&broker, 5).await;
    assert!(enqueued.elapsed() > hour / 2, "{:?}", enqueued.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_kills_the_process_is_dead_in_the_end_and_no_other_is() {
    let store = MemoryStore::new();
    let mut messages: Vec<_> = (0..400).map(|n| keyed(&format!("k{}", n % 40), n)).collect();
    messages.extend((400..420).map(unkeyed));
    store.enqueue_all(&messages);
    let delivered = quick_broker();
    let mut lives = 0;
    loop {
        lives += 1;
        assert!(lives < 30, "the culprit is never found");
        let dying = Arc::new(AtomicBool::new(false));
        let kills = Arc::clone(&dying);
        delivered.set_behaviour(move |message, _| {
            if number(message) == 77 {
                kills.store(true, Ordering::Relaxed);
                return Verdict::Hang;
            }
            Verdict::Accept
        });
        let relay = quick(Arc::new(store.clone()), &delivered).await;
        let outcome = tokio::select! {
            () = drained(&relay) => true,
            () = until("it dies", || dying.load(Ordering::Relaxed)) => false,
        };
        if outcome {
            break;
        }
        relay.abort();
    }
    let dead = store.dead();
    assert_eq!(number(&dead[0]), 77);
    assert!(
        dead.iter().all(|m| m.ordering_key() == dead[0].ordering_key()),
        "only its own key is parked with it"
    );
    let mut ids: Vec<_> = delivered.delivered().iter().chain(&dead).map(|m| *m.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 420, "nothing is lost");
    assert_in_order(&delivered.delivered());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_resets_the_client_and_holds_the_key() {
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(|message, nth| match (number(message), nth) {
        (3, 1 | 2) => Verdict::AcceptThenFail(PublishErrorKind::Unknown),
        _ => Verdict::Accept,
    });
    let messages: Vec<_> = (0..8).map(|n| keyed("k", n)).collect();
    store.enqueue_all(&messages);
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    assert_eq!(numbers(&broker.delivered()), [0, 1, 2, 3, 3, 3, 4, 5, 6, 7]);
    let stats = relay.stats();
    assert_eq!((stats.unknown, stats.retried, stats.dead), (2, 0, 0));
    assert_eq!(broker.resets(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_killed_relay_is_replaced_within_its_lease() {
    let store = MemoryStore::new();
    let broker = quick_broker();
    broker.set_latency(Duration::from_millis(20));
    let killed = quick(Arc::new(store.clone()), &broker).await;
    let messages: Vec<_> = (0..3000).map(|n| keyed(&format!("k{}", n % 60), n)).collect();
    store.enqueue_all(&messages);
    arrived(&broker, 500).await;
    let survivor = quick(Arc::new(store.clone()), &broker).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    killed.abort();
    let start = Instant::now();
    drained(&survivor).await;
    assert!(start.elapsed() < Duration::from_secs(6 + 10), "{:?}", start.elapsed());
    let delivered = broker.delivered();
    assert!(delivered.len() - 3000 <= 512, "{} duplicates", delivered.len() - 3000);
    assert_in_order(&delivered);
}

/// One message at a time is a matter of the database's round trips, and of no interval.
#[tokio::test(start_paused = true)]
async fn care_after_two_vanished_owners_waits_for_no_clock() {
    let store = MemoryStore::new();
    let broker = quick_broker();
    let messages: Vec<_> =
        (0..500).map(|n| if n % 4 == 0 { unkeyed(n) } else { keyed(&format!("k{}", n % 20), n) }).collect();
    for _ in 0..2 {
        let vanishes = quick(Arc::new(store.clone()), &broker).await;
        until("it owns the shards", || vanishes.stats().shards > 0).await;
        vanishes.abort();
    }
    store.enqueue_all(&messages);
    let relay = quick(Arc::new(store.clone()), &broker).await;
    until("it owns the shards", || relay.stats().shards > 0).await;
    let start = Instant::now();
    drained(&relay).await;
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
    assert!(broker.publishes() >= 500, "one by one: {}", broker.publishes());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// A database that has fallen silent keeps a relay from settling and from releasing its leases, but not from ending.
#[tokio::test(start_paused = true)]
async fn a_silent_database_does_not_keep_a_relay_from_ending() {
    let store = MemoryStore::new();
    let gate = Gate::new(&store);
    let broker = quick_broker();
    let relay = Relay::shared(Arc::new(gate.clone()), Arc::new(Connection(broker.clone())));
    let relay = start(relay.configure(|config| config.shutdown_timeout = Duration::from_secs(8))).await;
    until("it owns the shards", || relay.stats().shards > 0).await;
    broker.set_latency(Duration::from_millis(20));
    store.enqueue_all(&(0..1_000).map(unkeyed).collect::<Vec<_>>());
    arrived(&broker, 10).await;
    gate.close(Closed::Everything);
    let told = Instant::now();
    let ended = relay.shutdown().await;
    assert!(matches!(ended, Err(RelayError::ShutdownTimedOut { .. })), "{ended:?}");
    assert!(told.elapsed() < Duration::from_secs(8 + 5), "{:?}", told.elapsed());
}

/// While its connection is silent, a relay keeps its leases by another one.
#[tokio::test(start_paused = true)]
async fn a_silent_connection_costs_no_lease() {
    let store = MemoryStore::new();
    let gate = Gate::new(&store);
    let broker = quick_broker();
    let relay = start(Relay::shared(Arc::new(gate.clone()), Arc::new(Connection(broker.clone())))).await;
    until("it owns the shards", || relay.stats().shards > 0).await;
    // What is asked from now on is never answered; what is asked 15 s later is.
    gate.swallow(Duration::from_secs(15));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(relay.stats().leases_lost, 0);
    let messages: Vec<_> = (0..100).map(unkeyed).collect();
    store.enqueue_all(&messages);
    drained(&relay).await;
    assert_once(&broker.delivered(), &messages);
}
