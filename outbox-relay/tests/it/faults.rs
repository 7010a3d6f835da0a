use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    OutboxMessage, PublishError, PublishErrorKind, StoreErrorKind, StoredParts, Transport,
    TransportCapabilities,
};
use outbox_memory::{MemoryStore, MemoryTransport, Verdict};
use outbox_relay::{Relay, RelayError};
use tokio::time::Instant;

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn two_minutes_without_the_broker_use_no_attempt_and_end_within_seconds() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    broker.down();
    let messages: Vec<_> = (0..5000).map(|n| keyed(&format!("k{}", n % 50), n)).collect();
    store.enqueue_all(&messages);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let stats = relay.stats();
    assert_eq!((stats.delivered, stats.retried, stats.dead, stats.held), (0, 0, 0, 0), "{stats:?}");
    assert_eq!(stats.breaker_opened, 1);
    assert_eq!(store.pending().len(), 5000, "nothing was deferred");
    broker.up();
    let back = Instant::now();
    drained(&relay).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_answers_uses_no_attempt_either() {
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(|_, _| Verdict::Hang);
    let relay = relay(&store, &broker).await;
    let messages: Vec<_> = (0..300).map(|n| keyed(&format!("k{}", n % 10), n)).collect();
    store.enqueue_all(&messages);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let stats = relay.stats();
    assert_eq!((stats.retried, stats.dead), (0, 0), "{stats:?}");
    assert!(stats.unknown > 0);
    assert!(broker.resets() > 0, "the client is reset before the messages are sent again");
    broker.set_behaviour(|_, _| Verdict::Accept);
    drained(&relay).await;
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_alone_is_never_answered_uses_attempts_in_the_end() {
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(|message, _| match number(message) {
        13 => Verdict::Fail(PublishErrorKind::Unknown),
        _ => Verdict::Accept,
    });
    let relay = relay(&store, &broker).await;
    for number in 0..4000 {
        store.enqueue_all(&[unkeyed(number)]);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    drained(&relay).await;
    assert_eq!(numbers(&store.dead()), [13]);
    assert_eq!(broker.delivered().len(), 3999);
}

#[tokio::test(start_paused = true)]
async fn the_database_may_go_away_at_any_time() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    broker.set_latency(Duration::from_millis(50));
    let relay = relay(&store, &broker).await;
    let mut messages = Vec::new();
    for round in 0..20 {
        let batch: Vec<_> = (0..100).map(|k| keyed(&format!("k{k}"), round)).collect();
        store.enqueue_all(&batch);
        messages.extend(batch);
        tokio::time::sleep(Duration::from_millis(130)).await;
        store.down();
        tokio::time::sleep(Duration::from_secs(if round % 5 == 0 { 45 } else { 1 })).await;
        store.up();
    }
    drained(&relay).await;
    assert_once(&broker.delivered(), &messages);
    assert_in_order(&broker.delivered());
}

#[tokio::test(start_paused = true)]
async fn without_the_database_nothing_is_sent_beyond_the_lease() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    broker.set_latency(Duration::from_secs(1));
    store.enqueue_all(&(0..200).map(|n| keyed("one key", n)).collect::<Vec<_>>());
    let relay = relay(&store, &broker).await;
    arrived(&broker, 3).await;
    store.down();
    let down = Instant::now();
    tokio::time::sleep(Duration::from_secs(120)).await;
    // 30 s of lease, less 5 s of margin, less 10 s for the publish itself, from the last renewal.
    let sent = broker.delivered().len();
    assert!(sent <= 3 + 16, "{sent} messages");
    let published = broker.publishes();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(broker.publishes(), published, "{:?} after the database went", down.elapsed());
    store.up();
    drained(&relay).await;
    assert_in_order(&broker.delivered());
    assert_eq!(broker.delivered().len(), 200, "the settles were kept, so nothing was sent twice");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_settle_neither_loses_nor_doubles() {
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(|message, nth| match (number(message) % 5, nth) {
        (1, 1) => Verdict::Fail(PublishErrorKind::Retryable),
        (2, _) => Verdict::Fail(PublishErrorKind::Rejected),
        _ => Verdict::Accept,
    });
    let messages: Vec<_> = (0..100).map(|n| keyed(&format!("k{n}"), n)).collect();
    for _ in 0..10 {
        store.lose_next_reply("settle", StoreErrorKind::Unavailable);
    }
    store.enqueue_all(&messages);
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    assert_eq!(store.dead().len(), 20);
    let expected: Vec<_> = messages.iter().filter(|m| number(m) % 5 != 2).cloned().collect();
    assert_once(&broker.delivered(), &expected);
}

struct Panicking(AtomicBool);

#[async_trait]
impl Transport for Panicking {
    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::new("panicking")
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        assert!(self.0.swap(true, Ordering::Relaxed), "the first call panics");
        // The last result is missing.
        batch.iter().skip(1).map(|_| Ok(())).collect()
    }

    async fn check(&self) -> Result<(), PublishError> {
        Ok(())
    }

    async fn close(&self, _timeout: Duration) -> Result<(), PublishError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_missing_result_are_unknown_outcomes() {
    let store = MemoryStore::new();
    store.enqueue_all(&(0..10).map(unkeyed).collect::<Vec<_>>());
    let relay = relay_on(Arc::new(store.clone()), Arc::new(Panicking(AtomicBool::new(false)))).await;
    until("all but the one that never has a result", || store.pending().len() <= 1).await;
    let stats = relay.stats();
    assert!(stats.unknown >= 11, "{stats:?}");
    assert_eq!(stats.dead, 0);
}

/// A broker that confirms so many messages before the relay gives up waiting, however many it is sent.
struct TooSlowForMore(usize, MemoryTransport);

#[async_trait]
impl Transport for TooSlowForMore {
    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::new("slow").max_batch(500)
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        let results = self.1.publish(batch).await;
        if batch.len() > self.0 {
            std::future::pending::<()>().await;
        }
        results
    }

    async fn check(&self) -> Result<(), PublishError> {
        Ok(())
    }

    async fn close(&self, _timeout: Duration) -> Result<(), PublishError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_too_slow_for_full_batches_gets_smaller_ones() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let messages: Vec<_> = (0..2_000).map(|n| keyed(&format!("k{}", n % 1_000), n)).collect();
    store.enqueue_all(&messages);
    let relay = relay_on(Arc::new(store.clone()), Arc::new(TooSlowForMore(20, broker.clone()))).await;
    drained(&relay).await;
    let delivered = broker.delivered();
    let ids: HashSet<_> = delivered.iter().map(|message| *message.id()).collect();
    assert_eq!(ids.len(), 2_000);
    assert_in_order(&delivered);
    // What was sent until it was small enough, and a batch that was too much now and then.
    assert!(delivered.len() < 8_000, "{} copies", delivered.len() - 2_000);
    assert_eq!(relay.stats().dead, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_row_goes_to_the_dead_letters_in_its_turn() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    let mut transaction = store.begin();
    transaction.enqueue(&keyed("k", 0));
    let mut parts = StoredParts::new(outbox_core::MessageId::new(), "orders", "1".into());
    parts.ordering_key = Some(outbox_core::OrderingKey::new("k").unwrap());
    transaction.enqueue_raw(parts, Some("[1, 2"));
    transaction.enqueue(&keyed("k", 2));
    transaction.enqueue(&keyed("other", 3));
    transaction.commit();
    let relay = relay(&store, &broker).await;
    drained(&relay).await;
    let mut delivered = numbers(&broker.delivered());
    delivered.sort_unstable();
    assert_eq!(delivered, [0, 3]);
    assert_eq!(numbers(&store.dead()), [1, 2], "its key is parked");
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_is_not_migrated_is_refused() {
    let relay = Relay::shared(Arc::new(MemoryStore::unmigrated()), Arc::new(plain_broker()));
    match relay.start().await {
        Err(RelayError::Store(error)) => assert_eq!(error.kind(), StoreErrorKind::NotMigrated),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_at_the_start_is_waited_for() {
    let store = MemoryStore::new();
    let broker = plain_broker();
    store.enqueue_all(&[unkeyed(0)]);
    store.down();
    let _relay = relay(&store, &broker).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = store.all_calls();
    assert!(calls < 100, "{calls} attempts in a minute");
    store.up();
    arrived(&broker, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_look_aside_that_fails_keeps_nobody_waiting() {
    for operation in ["mark_late_commits", "scan", "next_due", "requests", "holds"] {
        let store = MemoryStore::new();
        let broker = plain_broker();
        let relay = relay(&store, &broker).await;
        until("it has its shards", || relay.stats().shards > 0).await;
        for _ in 0..1000 {
            store.fail_next(operation, StoreErrorKind::Other);
        }
        let mut slowest = Duration::ZERO;
        for number in 0..60 {
            store.enqueue_all(&[unkeyed(number)]);
            let begin = Instant::now();
            arrived(&broker, number + 1).await;
            slowest = slowest.max(begin.elapsed());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(slowest < Duration::from_secs(6), "{operation}: {slowest:?}");
    }
}
