use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{OutboxMessage, PublishError, PublishErrorKind, Transport, TransportCapabilities};
use outbox_memory::{MemoryStore, MemoryTransport, Verdict};
use outbox_relay::metrics::names;
use outbox_relay::{PublishPath, Publisher, sink};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::desk::*;
use crate::harness::*;
use crate::ledger::Ledger;

/// What one caller saw: when, how long, which way.
struct Seen {
    at: Duration,
    took: Duration,
    path: PublishPath,
}

/// Calls that follow each other, of one key or of none, every 50 ms.
async fn caller(publisher: Publisher, number: usize, key: Option<String>, events: usize) -> Vec<Seen> {
    let start = Instant::now();
    let mut seen = Vec::with_capacity(events);
    let mut pace =
        tokio::time::interval_at(start + Duration::from_millis(2 * number as u64), Duration::from_millis(50));
    for event in 0..events {
        let begun = pace.tick().await;
        let message = match &key {
            Some(key) => keyed(key, event),
            None => unkeyed(event),
        };
        let path = publisher.publish(&message).await.unwrap();
        seen.push(Seen { at: begun - start, took: begun.elapsed(), path });
    }
    seen
}

/// 500 events a second for 100 s, and no broker from the 10th to the 70th.
async fn a_minute_without_the_broker(broker: &MemoryTransport, keys: usize) {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let store = MemoryStore::new();
    broker.set_latency(Duration::from_millis(2));
    let (publisher, relay) = with_relay(&store, broker).await;
    let mut callers = JoinSet::new();
    for number in 0..25 {
        let key = (number < keys).then(|| format!("k{number}"));
        callers.spawn(caller(publisher.clone(), number, key, 2000));
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    broker.down();
    let before = broker.publishes();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tried = broker.publishes() - before;
    broker.up();
    let seen: Vec<Seen> = callers.join_all().await.into_iter().flatten().collect();
    drained(&relay).await;

    // Nothing is lost, nothing comes twice, and no key was overtaken.
    let delivered = broker.delivered();
    assert_eq!(delivered.len(), 50_000);
    let ids: std::collections::HashSet<_> = delivered.iter().map(|message| *message.id()).collect();
    assert_eq!(ids.len(), 50_000);
    assert_in_order(&delivered);
    assert_eq!(broker.violations(), Vec::<String>::new());

    // The counters add up, in each of the three places.
    let stats = publisher.stats();
    assert_eq!((stats.direct + stats.fallback, stats.all()), (50_000, 50_000), "{stats:?}");
    assert_eq!(relay.stats().delivered, stats.fallback);
    let of = |wanted| seen.iter().filter(|seen| seen.path == wanted).count() as u64;
    assert_eq!((of(PublishPath::Direct), of(PublishPath::Fallback)), (stats.direct, stats.fallback));
    let counted = |path| {
        ledger.total(&format!(
            "{}{{path={path},topic=orders,transport={}}}",
            names::PUBLISHED_TOTAL,
            transport(broker)
        ))
    };
    let exact = |count: u64| f64::from(u32::try_from(count).unwrap());
    assert_eq!(counted("direct"), exact(stats.direct));
    assert_eq!(counted("fallback"), exact(stats.fallback));
    assert_eq!(counted("relayed"), exact(stats.fallback));

    // Before the outage all went directly, and without a detour; while it lasted, hardly anything was tried.
    let early = seen.iter().filter(|seen| seen.at < Duration::from_secs(9));
    assert!(early.clone().count() > 4000);
    for seen in early {
        assert!(seen.path == PublishPath::Direct && seen.took < Duration::from_millis(20), "{:?}", seen.took);
    }
    assert!(stats.fallback >= 29_000, "{stats:?}");
    assert!(tried < 150, "{tried} calls of a broker that is away");
    // It resumed by itself, for every caller, within seconds, and nobody waited for long.
    let late = Duration::from_secs(70 + 6);
    let after: Vec<_> = seen.iter().filter(|seen| seen.at > late).collect();
    assert!(after.iter().all(|seen| seen.path == PublishPath::Direct));
    assert!(after.len() > 11_000);
    let longest = seen.iter().map(|seen| seen.took).max().unwrap();
    assert!(longest < Duration::from_millis(300), "{longest:?}");
}

fn transport(broker: &MemoryTransport) -> &'static str {
    outbox_core::Transport::capabilities(broker).name
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_the_broker_fails_no_call_and_ends_by_itself() {
    a_minute_without_the_broker(&plain_broker(), 20).await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_by_itself_also_where_every_message_has_a_key() {
    a_minute_without_the_broker(&MemoryTransport::new(), 25).await;
}

#[tokio::test(start_paused = true)]
async fn messages_without_a_key_resume_while_the_outbox_is_still_full() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    broker.down();
    for number in 0..5 {
        assert!(fallback(&publisher.publish(&unkeyed(number)).await));
    }
    assert_eq!(broker.publishes(), 1, "the others did not try");
    broker.up();
    assert!(fallback(&publisher.publish(&unkeyed(5)).await), "nobody knows that it is back");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(direct(&publisher.publish(&unkeyed(6)).await));
    assert!(direct(&publisher.publish(&unkeyed(7)).await));
    assert_eq!(store.pending().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn one_message_finds_out_while_the_others_go_to_the_outbox() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    broker.down();
    publisher.publish(&unkeyed(0)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    broker.up();
    broker.set_latency(Duration::from_millis(100));
    let tries = broker.publishes();
    let calls: Vec<_> = (1..=10).map(|number| (number, publisher.clone())).collect();
    let calls =
        calls.into_iter().map(|(number, publisher)| async move { publisher.publish(&unkeyed(number)).await });
    let published: Vec<Published> = futures_util::future::join_all(calls).await;
    assert_eq!(published.iter().filter(|published| direct(published)).count(), 1);
    assert_eq!(published.iter().filter(|published| fallback(published)).count(), 9);
    assert_eq!(broker.publishes() - tries, 1);
    // And of a batch its first.
    let tried = Arc::new(AtomicUsize::new(0));
    let tries = Arc::clone(&tried);
    broker.set_latency(Duration::ZERO);
    broker.set_behaviour(move |_, _| {
        tries.fetch_add(1, Ordering::Relaxed);
        Verdict::Fail(PublishErrorKind::Unavailable)
    });
    publisher.publish(&unkeyed(11)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let batch: Vec<_> = (12..20).map(unkeyed).collect();
    assert!(publisher.publish_all(&batch).await.iter().all(fallback));
    assert_eq!(tried.load(Ordering::Relaxed), 2);
    broker.set_behaviour(|_, _| Verdict::Accept);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let batch: Vec<_> = (20..30).map(unkeyed).collect();
    assert!(publisher.publish_all(&batch).await.iter().all(direct));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_answer_is_waited_for_once() {
    let (store, broker) = (MemoryStore::new(), plain_broker().with_behaviour(|_, _| Verdict::Hang));
    let publisher = direct_first(&store, &broker).build().unwrap();
    let start = Instant::now();
    // More than there is room for: those that wait for room fall back when the first time-out is over.
    let calls: Vec<_> = (0..600).map(unkeyed).collect();
    let calls = calls.iter().map(|message| publisher.publish(message));
    let published = futures_util::future::join_all(calls).await;
    assert!(published.iter().all(fallback));
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!((broker.publishes(), broker.resets()), (256, 1), "one reset for all");
    let start = Instant::now();
    assert!(fallback(&publisher.publish(&unkeyed(600)).await));
    assert!(start.elapsed() < Duration::from_millis(5));
    assert_eq!(store.pending().len(), 601);
    assert_eq!(broker.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_does_not_wait_for_a_broker_that_is_away() {
    let (store, broker) = (MemoryStore::new(), plain_broker().with_behaviour(|_, _| Verdict::Hang));
    let publisher = direct_first(&store, &broker).build().unwrap();
    let start = Instant::now();
    let mut calls = JoinSet::new();
    let mut call = |messages: usize, after: u64| {
        let (publisher, batch) = (publisher.clone(), (0..messages).map(unkeyed).collect::<Vec<_>>());
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            let published = publisher.publish_all(&batch).await;
            assert!(published.iter().all(fallback));
            (messages, start.elapsed().as_secs())
        });
    };
    // The first has its time-out at 10 s, the second at 15 s; the third needs the room of both. The
    // fourth finds out whether the broker is back, and needs room for one message.
    call(56, 0);
    call(200, 5_000);
    call(100, 6_000);
    call(90, 10_300);
    let mut ended = calls.join_all().await;
    ended.sort_unstable();
    assert_eq!(ended, [(56, 10), (90, 20), (100, 10), (200, 15)]);
    assert_eq!(store.pending().len(), 446);
}

/// A client that takes a second to forget what it holds.
struct SlowToReset(MemoryTransport);

#[async_trait]
impl Transport for SlowToReset {
    fn capabilities(&self) -> TransportCapabilities {
        self.0.capabilities()
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        self.0.publish(batch).await
    }

    async fn check(&self) -> Result<(), PublishError> {
        self.0.check().await
    }

    async fn reset(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.0.reset().await;
    }

    async fn close(&self, timeout: Duration) -> Result<(), PublishError> {
        self.0.close(timeout).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_while_another_one_resets_the_client_resets_it_too() {
    let unknown = |_: &OutboxMessage, _| Verdict::Fail(PublishErrorKind::Unknown);
    let (store, broker) = (MemoryStore::new(), plain_broker().with_behaviour(unknown));
    broker.set_latency(Duration::from_secs(1));
    let slow = Arc::new(SlowToReset(broker.clone()));
    let publisher = Publisher::direct_first(slow, sink(store.clone(), write), Arc::new(store.clone()));
    let publisher = publisher.build().unwrap();
    // The first ends at 1 s, and with it the second. The third is still under way then, and ends at 1.5 s: it may have been
    // sent after the client had forgotten everything.
    let mut calls = JoinSet::new();
    for after in [0, 0, 500] {
        let publisher = publisher.clone();
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            publisher.publish(&unkeyed(0)).await
        });
    }
    assert!(calls.join_all().await.iter().all(fallback));
    assert_eq!((broker.publishes(), broker.resets()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_outage_does_not_end_it() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    broker.set_behaviour(|message, _| match number(message) {
        1 => Verdict::Fail(PublishErrorKind::Unavailable),
        _ => Verdict::Accept,
    });
    let publisher = direct_first(&store, &broker).build().unwrap();
    broker.set_latency(Duration::from_millis(100));
    let (early, slow) = (publisher.clone(), unkeyed(0));
    let early = tokio::spawn(async move { early.publish(&slow).await });
    until("it is under way", || broker.publishes() == 1).await;
    broker.set_latency(Duration::ZERO);
    assert!(fallback(&publisher.publish(&unkeyed(1)).await));
    assert!(direct(&early.await.unwrap()));
    assert!(fallback(&publisher.publish(&unkeyed(2)).await));
}

#[tokio::test(start_paused = true)]
async fn while_the_broker_is_away_nobody_waits() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let (publisher, _relay) = with_relay(&store, &broker).await;
    broker.down();
    for number in 0..200 {
        let start = Instant::now();
        assert!(fallback(&publisher.publish(&keyed("k", number)).await));
        assert!(start.elapsed() < Duration::from_millis(5), "{number}: {:?}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
