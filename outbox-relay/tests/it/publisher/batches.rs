use std::time::Duration;

use outbox_core::{OutboxMessage, PublishErrorKind, TransportCapabilities};
use outbox_memory::{MemoryStore, MemoryTransport, Verdict};
use outbox_relay::{PublishPath, PublisherError};

use super::desk::*;
use crate::harness::*;

/// 20 keys of 15 messages and as many without a key, all mixed.
fn mixed() -> Vec<OutboxMessage> {
    (0..15)
        .flat_map(|n| (0..40).map(move |k| if k < 20 { keyed(&format!("k{k}"), n) } else { unkeyed(n) }))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_what_the_transport_asks_for() {
    let narrow = |pipelined| {
        TransportCapabilities::new("narrow").pipelined_order(pipelined).max_batch(7).max_in_flight(16)
    };
    for pipelined in [true, false] {
        let (store, broker) =
            (MemoryStore::new(), MemoryTransport::new().with_capabilities(narrow(pipelined)));
        broker.set_latency(Duration::from_millis(1));
        let publisher = direct_first(&store, &broker).build().unwrap();
        let batches = [mixed(), mixed(), mixed()];
        let calls = batches.iter().map(|batch| publisher.publish_all(batch));
        let published = futures_util::future::join_all(calls).await;
        assert!(published.iter().flatten().all(direct));
        assert_once(&broker.delivered(), &batches.concat());
        assert_eq!(broker.violations(), Vec::<String>::new());
        for batch in &batches {
            let of_this = |message: &OutboxMessage| batch.iter().any(|other| other.id() == message.id());
            assert_in_order(&broker.delivered().into_iter().filter(of_this).collect::<Vec<_>>());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_key_take_turns() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    broker.set_latency(Duration::from_millis(3));
    let publisher = direct_first(&store, &broker).build().unwrap();
    let messages: Vec<_> = (0..100).map(|n| keyed("k", n)).collect();
    let calls = messages.iter().map(|message| publisher.publish(message));
    assert!(futures_util::future::join_all(calls).await.iter().all(direct));
    assert_once(&broker.delivered(), &messages);
    assert_eq!(broker.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_away_in_the_middle_leaves_every_key_in_order() {
    for broker in [plain_broker(), MemoryTransport::new()] {
        let store = MemoryStore::new();
        let (publisher, relay) = with_relay(&store, &broker).await;
        // Two keys fail, each in its own way, and the third time the broker is gone.
        broker.set_behaviour(|message, nth| {
            match (message.ordering_key().map(|key| key.as_str()), number(message)) {
                (Some("k3"), 5) if nth == 1 => Verdict::Fail(PublishErrorKind::Retryable),
                (Some("k4"), 7) => Verdict::Fail(PublishErrorKind::Rejected),
                (Some("k5"), 9) if nth == 1 => Verdict::Fail(PublishErrorKind::Unavailable),
                _ => Verdict::Accept,
            }
        });
        let batch = mixed();
        let published = publisher.publish_all(&batch).await;
        assert_eq!(published.len(), batch.len());
        for (message, published) in batch.iter().zip(&published) {
            let key = message.ordering_key().map(|key| key.as_str());
            let is_refused = key == Some("k4") && number(message) == 7;
            assert_eq!(matches!(published, Err(PublisherError::Rejected(_))), is_refused, "{message:?}");
            assert!(is_refused || published.is_ok());
            if key == Some("k3") {
                assert_eq!(direct(published), number(message) < 5);
            }
        }
        let stored = published.iter().filter(|published| fallback(published)).count();
        assert!((10..500).contains(&stored), "{stored}");
        assert_eq!(store.calls("enqueue"), 1, "what is stored is stored together");
        drained(&relay).await;
        let delivered = broker.delivered();
        assert_eq!(delivered.len(), batch.len() - 1);
        assert_in_order(&delivered);
        assert_eq!(broker.violations(), Vec::<String>::new());
        assert_eq!(relay.stats().delivered, publisher.stats().fallback);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_and_what_is_free_go_their_ways() {
    let (store, broker) = (MemoryStore::new(), MemoryTransport::new());
    let publisher = direct_first(&store, &broker).build().unwrap();
    broker.down();
    publisher.publish(&keyed("held", 0)).await.unwrap();
    broker.up();
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(direct(&publisher.publish(&unkeyed(0)).await));
    let batch = [keyed("held", 1), keyed("free", 1), unkeyed(1), keyed("held", 2), keyed("free", 2)];
    let paths: Vec<_> = publisher.publish_all(&batch).await.into_iter().map(Result::unwrap).collect();
    use PublishPath::{Direct, Fallback};
    assert_eq!(paths, [Fallback, Direct, Direct, Fallback, Direct]);
    assert_eq!(numbers(&store.pending()), [0, 1, 2]);
    assert!(publisher.publish_all(&[]).await.is_empty());
}
