use std::time::Duration;

use outbox_core::{OutboxMessage, PublishErrorKind, StoreErrorKind};
use outbox_memory::{MemoryStore, Verdict};
use outbox_relay::{PublishPath, PublisherError};

use super::desk::*;
use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn a_refused_message_is_its_callers_error_and_nothing_else() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    broker.set_behaviour(|message, _| match number(message) {
        1 => Verdict::Fail(PublishErrorKind::Rejected),
        _ => Verdict::Accept,
    });
    let publisher = direct_first(&store, &broker).build().unwrap();
    assert!(direct(&publisher.publish(&keyed("k", 0)).await));
    let error = publisher.publish(&keyed("k", 1)).await.unwrap_err();
    assert!(error.is_rejected());
    assert_eq!(error.to_string(), "the broker refuses the message: a failure that a test asked for");
    assert!(direct(&publisher.publish(&keyed("k", 2)).await), "neither its key nor the broker is to blame");
    assert!(store.pending().is_empty());
    let stats = publisher.stats();
    assert_eq!((stats.direct, stats.rejected, stats.all()), (2, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_may_come_twice_and_never_not_at_all() {
    for accepted in [true, false] {
        let (store, broker) = (MemoryStore::new(), plain_broker());
        let (publisher, relay) = with_relay(&store, &broker).await;
        broker.set_behaviour(move |_, nth| match nth {
            1 if accepted => Verdict::AcceptThenFail(PublishErrorKind::Unknown),
            1 => Verdict::Fail(PublishErrorKind::Unknown),
            _ => Verdict::Accept,
        });
        let message = keyed("k", 0);
        assert!(fallback(&publisher.publish(&message).await));
        assert_eq!(broker.resets(), 1, "what the client holds back must not come later");
        drained(&relay).await;
        let delivered = broker.delivered();
        assert_eq!(delivered.len(), 1 + usize::from(accepted));
        assert!(delivered.iter().all(|copy| copy.id() == message.id()));
        assert_eq!((publisher.stats().fallback, relay.stats().delivered), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_can_not_take_now_is_stored_and_is_no_outage() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    broker.set_behaviour(|message, _| match number(message) {
        0 => Verdict::Fail(PublishErrorKind::Retryable),
        _ => Verdict::Accept,
    });
    let publisher = direct_first(&store, &broker).build().unwrap();
    assert!(fallback(&publisher.publish(&unkeyed(0)).await));
    assert!(direct(&publisher.publish(&unkeyed(1)).await));
    assert_eq!(numbers(&store.pending()), [0]);
}

#[tokio::test(start_paused = true)]
async fn without_broker_and_database_the_caller_hears_of_both() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    assert!(direct(&publisher.publish(&keyed("k", 0)).await));
    broker.down();
    store.fail_next("enqueue", StoreErrorKind::Unavailable);
    match publisher.publish(&keyed("k", 1)).await {
        Err(PublisherError::NotStored { store, broker: Some(broker) }) => {
            assert_eq!(broker.kind(), PublishErrorKind::Unavailable);
            assert!(store.to_string().starts_with("enqueue: "), "{store}");
        }
        other => panic!("{other:?}"),
    }
    let stats = publisher.stats();
    assert_eq!((stats.failed, stats.all()), (1, 2));
    // With the broker there, the database is not needed.
    broker.up();
    store.down();
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(direct(&publisher.publish(&unkeyed(2)).await));
    assert!(direct(&publisher.publish(&unkeyed(3)).await));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_is_for_the_outbox() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    let delayed =
        OutboxMessage::bytes("orders", "0").unwrap().delay(Duration::from_secs(3600)).build().unwrap();
    assert_eq!(publisher.publish(&delayed).await.unwrap(), PublishPath::Stored);
    assert_eq!((broker.publishes(), store.pending().len()), (0, 1));
    assert_eq!(publisher.stats().stored, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_loses_the_result_alone() {
    let (store, broker) = (MemoryStore::new(), plain_broker());
    broker.set_latency(Duration::from_secs(1));
    let publisher = direct_first(&store, &broker).build().unwrap();
    let gone = tokio::time::timeout(Duration::from_millis(10), publisher.publish(&unkeyed(0))).await;
    assert!(gone.is_err());
    arrived(&broker, 1).await;
    until("it is counted", || publisher.stats().direct == 1).await;
    broker.down();
    let gone = tokio::time::timeout(Duration::from_millis(10), publisher.publish(&unkeyed(1))).await;
    assert!(gone.is_err());
    until("it is stored", || store.pending().len() == 1).await;
    assert_eq!(broker.resets(), 0, "no client was torn down");
}
