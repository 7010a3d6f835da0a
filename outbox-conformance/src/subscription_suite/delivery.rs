//! What was published arrives, unchanged, in order, and no more of it at once than was asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt as _;
use outbox_core::{OutboxMessage, SubscribeErrorKind};
use tokio::time::timeout;

use super::SubscriptionFixture;
use super::receiving::{
    PATIENCE, close, ids, member, message, messages, next, options, silent, sorted, take, take_all,
};
use crate::offered;

/// Key, headers, attributes and payload arrive as they were published.
pub async fn every_field_arrives_unchanged<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "fields").await;
    let full = message(&*fixture, "{\"total\": 12.50 }")
        .ordering_key("order-\u{1F980}")
        .event_type("OrderPlaced")
        .schema_version(3)
        .aggregate("order", 7)
        .correlation_id("c-1")
        .content_type("application/json")
        .header("tenant", "acme: \"1\"")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("Empty", "")
        .build()
        .unwrap();
    let mut parts = full.into_parts();
    parts.created_at = Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
    let mut binary = message(&*fixture, "").build().unwrap().into_parts();
    binary.payload = (0..=255).collect();
    let mut padded =
        message(&*fixture, " [1]\n").content_type("application/json").build().unwrap().into_parts();
    padded.ordering_key = None;
    let sent = [
        OutboxMessage::stored(parts),
        OutboxMessage::stored(binary),
        OutboxMessage::stored(padded),
        message(&*fixture, "").build().unwrap(),
    ];
    for one in &sent {
        fixture.publish(std::slice::from_ref(one)).await;
        let delivery = next(&mut *reader).await;
        let found = delivery.message().unwrap();
        assert_eq!(found, one);
        let first = delivery.attempt();
        assert!(first.is_none_or(|attempt| attempt == 1), "{first:?}");
        delivery.ack().await.unwrap();
    }
    close(reader).await;
}

/// One member sees the messages of each key in the order of their publishing, and each of them once.
pub async fn messages_of_a_key_arrive_in_order<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "order").await;
    let mut sent = Vec::new();
    for round in 0..20 {
        let batch: Vec<OutboxMessage> = (0..10)
            .map(|key| message(&*fixture, format!("{key}/{round}")).ordering_key(key).build().unwrap())
            .collect();
        fixture.publish(&batch).await;
        sent.extend(batch);
    }
    let found = take(&mut *reader, sent.len()).await;
    let by_key = |messages: &[OutboxMessage]| {
        let mut keys = BTreeMap::<String, Vec<String>>::new();
        for message in messages {
            let key = message.ordering_key().unwrap().as_str().to_owned();
            keys.entry(key).or_default().push(message.id().to_string());
        }
        keys
    };
    assert_eq!(by_key(&found), by_key(&sent));
    silent(&mut *reader).await;
    close(reader).await;
}

/// A call of `next` that is dropped, however far it was, loses nothing.
pub async fn a_dropped_next_loses_nothing<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "dropped").await;
    let sent = messages(&*fixture, 60);
    fixture.publish(&sent).await;
    let mut found = Vec::new();
    let mut polls = 0_u64;
    let all = async {
        while found.len() < sent.len() {
            polls += 1;
            // From "not even polled twice" to "nearly there".
            let delivery = if polls.is_multiple_of(2) {
                reader.next().now_or_never()
            } else {
                timeout(Duration::from_micros(polls % 700), reader.next()).await.ok()
            };
            match delivery {
                Some(Ok(delivery)) => {
                    found.push(delivery.message().unwrap().clone());
                    delivery.ack().await.unwrap();
                }
                Some(Err(error)) => panic!("{error}"),
                None => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, all).await.expect("some never arrived");
    assert_eq!(sorted(ids(&found)), sorted(ids(&sent)));
    close(reader).await;
}

/// What no outbox has written is handed out as such, with its payload, and stands in nobody's way.
pub async fn what_is_no_message_is_handed_out<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "foreign").await;
    fixture.publish_foreign(b"hello").await;
    let sent = messages(&*fixture, 2);
    fixture.publish(&sent).await;
    let foreign = next(&mut *reader).await;
    let undecodable = foreign.message().unwrap_err();
    assert_eq!(&undecodable.payload[..], b"hello");
    assert_eq!(undecodable.topic, fixture.topic());
    foreign.ack().await.unwrap();
    assert_eq!(ids(&take(&mut *reader, 2).await), ids(&sent));
    close(reader).await;
}

/// As many deliveries as the options say are handed out; the next one comes when one of them is settled.
pub async fn no_more_than_prefetch_is_handed_out<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut few = options(&*fixture, "few");
    few.prefetch = 3;
    // None of them may come again while the case looks on.
    few.redeliver_after = Duration::from_secs(30);
    let mut reader = fixture.subscribe(few).await;
    assert_eq!(reader.capabilities().prefetch, 3);
    let sent = messages(&*fixture, 8);
    fixture.publish(&sent).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut *reader).await);
    }
    silent(&mut *reader).await;
    held.remove(1).ack().await.unwrap();
    held.push(next(&mut *reader).await);
    silent(&mut *reader).await;
    for delivery in held.drain(..) {
        delivery.ack().await.unwrap();
    }
    take(&mut *reader, 4).await;
    silent(&mut *reader).await;
    close(reader).await;
}

/// A topic that does not exist is said to be missing, by the check and by `next`, and is read once it is there.
pub async fn a_missing_topic_is_named<F: SubscriptionFixture>(fixture: Arc<F>) {
    let Some(missing) = offered("topic that can be missing", fixture.missing_topic()) else {
        return;
    };
    let mut wrong = options(&*fixture, "missing");
    wrong.topics = vec![outbox_core::Topic::new(&missing).unwrap()];
    let mut reader = fixture.subscribe(wrong).await;
    let error = reader.check().await.unwrap_err();
    assert_eq!(error.kind(), SubscribeErrorKind::Missing, "{error}");
    let error = timeout(PATIENCE, reader.next()).await.expect("it says nothing").unwrap_err();
    assert_eq!(error.kind(), SubscribeErrorKind::Missing, "{error}");
    let _ = reader.close(Duration::from_secs(20)).await;
}

/// A healthy broker passes the check, and nothing is received by it.
pub async fn a_check_receives_nothing<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "checked").await;
    let sent = messages(&*fixture, 3);
    fixture.publish(&sent).await;
    for _ in 0..3 {
        reader.check().await.unwrap();
    }
    assert_eq!(sorted(ids(&take_all(&mut *reader, &sent).await)), sorted(ids(&sent)));
    close(reader).await;
}
