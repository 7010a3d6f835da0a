use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Event, Json, OutboxMessage, PublishErrorKind, StoreErrorKind, TransportCapabilities};
use outbox_memory::{MemoryStore, MemoryTransport, Verdict};
use outbox_relay::{PublishPath, Publisher, PublisherError, sink};

use super::desk::*;
use crate::harness::*;

#[derive(serde::Serialize)]
struct OrderPlaced {
    order: String,
}

impl Event for OrderPlaced {
    const TOPIC: &'static str = "orders";
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.order.as_str().into())
    }
}

/// The code of a service that does not know the mode.
async fn service(publisher: &Publisher) -> [PublishPath; 3] {
    let batch = publisher.publish_all(&[keyed("k", 0)]).await.pop().unwrap().unwrap();
    let event = publisher.emit(&OrderPlaced { order: "7".to_owned() }).await.unwrap();
    [batch, event, publisher.publish(&unkeyed(1)).await.unwrap()]
}

#[tokio::test(start_paused = true)]
async fn the_same_calls_take_the_way_of_the_mode() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let transactional = Publisher::transactional(sink(store.clone(), write)).build().unwrap();
    assert_eq!(service(&transactional).await, [PublishPath::Stored; 3]);
    assert_eq!((store.pending().len(), broker.publishes()), (3, 0));
    assert_eq!(transactional.stats().stored, 3);
    assert!(transactional.relay().is_none());

    let (store, direct_first_broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &direct_first_broker).build().unwrap();
    assert_eq!(service(&publisher).await, [PublishPath::Direct; 3]);
    let direct = Publisher::direct(Arc::new(broker.clone())).build().unwrap();
    assert_eq!(service(&direct).await, [PublishPath::Direct; 3]);
    for broker in [broker, direct_first_broker] {
        assert_eq!(broker.delivered().len(), 3);
        assert_eq!(broker.delivered()[1].payload().as_ref(), br#"{"order":"7"}"#);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_wakes_the_relay() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let relay = relay(&store, &broker).await;
    let publisher = Publisher::transactional(sink(store.clone(), write)).build().unwrap();
    let waker = relay.waker();
    publisher.wakes(move || waker.wake());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let stored = tokio::time::Instant::now();
    publisher.publish(&unkeyed(0)).await.unwrap();
    arrived(&broker, 1).await;
    assert!(stored.elapsed() < Duration::from_millis(5), "{:?}", stored.elapsed());
}

#[tokio::test(start_paused = true)]
async fn in_the_mode_transactional_a_database_that_refuses_is_an_error() {
    let store = MemoryStore::new();
    let publisher = Publisher::transactional(sink(store.clone(), write)).build().unwrap();
    store.fail_next("enqueue", StoreErrorKind::Conflict);
    let failed = publisher.publish_all(&[unkeyed(0), unkeyed(1)]).await;
    assert!(
        failed.iter().all(|failed| matches!(failed, Err(PublisherError::NotStored { broker: None, .. })))
    );
    assert_eq!(publisher.stats().failed, 2);
    assert!(store.pending().is_empty());
}

#[tokio::test(start_paused = true)]
async fn in_the_mode_direct_the_broker_s_error_is_the_caller_s() {
    let broker = plain_broker();
    let publisher = Publisher::direct(Arc::new(broker.clone())).build().unwrap();
    for kind in [PublishErrorKind::Unavailable, PublishErrorKind::Unknown, PublishErrorKind::Retryable] {
        broker.set_behaviour(move |_, _| Verdict::Fail(kind));
        match publisher.publish(&keyed("k", 0)).await {
            Err(PublisherError::NotPublished(error)) => assert_eq!(error.kind(), kind),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(broker.resets(), 1, "after the unknown outcome");
    broker.set_behaviour(|_, _| Verdict::Fail(PublishErrorKind::Rejected));
    assert!(publisher.publish(&keyed("k", 0)).await.unwrap_err().is_rejected());
    broker.set_behaviour(|_, _| Verdict::Accept);
    assert!(
        direct(&publisher.publish(&keyed("k", 0)).await),
        "there is no breaker: each call asks the broker"
    );
    let delayed =
        OutboxMessage::bytes("orders", "0").unwrap().delay(Duration::from_secs(60)).build().unwrap();
    assert!(matches!(publisher.publish(&delayed).await, Err(PublisherError::Delayed)));
    let stats = publisher.stats();
    assert_eq!((stats.direct, stats.rejected, stats.failed, stats.all()), (1, 1, 4, 6));
}

#[test]
fn a_client_that_sends_longer_than_is_waited_for_is_refused() {
    let slow = TransportCapabilities::new("slow").max_send_time(Duration::from_secs(10));
    let slow = || Arc::new(MemoryTransport::new().with_capabilities(slow.clone()));
    let error = Publisher::direct(slow()).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "publisher configuration: publish_timeout is 10s, it must be longer than the longest send of the slow client \
         (10s)"
    );
    let patient = |builder: outbox_relay::PublisherBuilder| {
        builder.configure(|config| config.publish_timeout = Duration::from_secs(11)).build()
    };
    assert!(patient(Publisher::direct(slow())).is_ok());
    let zero = Publisher::direct(Arc::new(MemoryTransport::new()));
    let error = zero.configure(|config| config.breaker_first = Duration::ZERO).build().unwrap_err();
    assert_eq!(error.field, "breaker_first");
}
