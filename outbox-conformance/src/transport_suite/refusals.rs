//! What a broker does not take is refused with the right kind, and harms nobody.

use std::sync::Arc;

use outbox_core::{MessageId, OrderingKey, OutboxMessage, PublishErrorKind, StoredParts};

use super::TransportFixture;
use super::publishing::{
    all_confirmed, builder, holds_exactly, kind, large, publish_all, raw_headers, stored, text,
};
use crate::offered;

/// A topic without stream, queue or exchange is a failure that a later try can mend: nothing is dead, and the same
/// messages are delivered once somebody has made what was missing.
pub async fn missing_topology_is_retryable_and_heals<F: TransportFixture>(fixture: Arc<F>) {
    let Some(missing) = offered("topic without a place", fixture.unroutable_topic()) else {
        return;
    };
    let (transport, there) = (fixture.transport(), fixture.topic("there"));
    let lost: Vec<OutboxMessage> = (0..5).map(|n| text(&missing, format!("{n}"))).collect();
    for round in 0..3 {
        let neighbour = text(&there, format!("neighbour {round}"));
        let mut batch = lost.clone();
        batch.insert(2, neighbour);
        for (position, result) in transport.publish(&batch).await.iter().enumerate() {
            let expected = (position != 2).then_some(PublishErrorKind::Retryable);
            assert_eq!(kind(result), expected, "message {position}: {result:?}");
            if let Err(error) = result {
                assert!(error.to_string().contains(&missing), "the text names the topic: {error}");
            }
        }
    }
    fixture.make_routable(&missing).await;
    publish_all(&*transport, &lost).await;
    holds_exactly(&*fixture, &missing, &lost).await;
    assert_eq!(fixture.read_back(&there).await.len(), 3);
}

/// A message that is too large is refused for good, without touching its neighbours; the text says that it is the size.
pub async fn an_oversized_message_is_rejected_alone<F: TransportFixture>(fixture: Arc<F>) {
    let Some(size) = offered("limit of size", fixture.oversized()) else {
        return;
    };
    let topic = fixture.topic("sizes");
    let batch = [text(&topic, "before"), large(&topic, size), text(&topic, "after"), large(&topic, size * 2)];
    let results = fixture.transport().publish(&batch).await;
    let rejected = Some(PublishErrorKind::Rejected);
    assert_eq!(results.iter().map(kind).collect::<Vec<_>>(), [None, rejected, None, rejected], "{results:?}");
    holds_exactly(&*fixture, &topic, &[batch[0].clone(), batch[2].clone()]).await;
    publish_all(&*fixture.transport(), &[text(&topic, "later")]).await;
}

/// Rows that a writer in another language stored past every check: each is refused as such or travels unchanged. None
/// panics, none smuggles in another message or header, and none harms its neighbours.
pub async fn a_stored_message_cannot_inject<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("victim"));
    let id = MessageId::new();
    let hostile = hostile(&topic, id);
    let mut batch = Vec::new();
    for (n, message) in hostile.iter().enumerate() {
        batch.push(builder(&topic, format!("neighbour {n}")).build().unwrap());
        batch.push(message.clone());
    }
    let mut accepted = Vec::new();
    // Both in one batch, and each in a call of its own: a client may look at the first message only.
    for round in batch.chunks(batch.len()).chain(batch.chunks(1)) {
        let results = transport.publish(round).await;
        assert_eq!(results.len(), round.len());
        for (message, result) in round.iter().zip(&results) {
            match kind(result) {
                None => accepted.push(message.clone()),
                Some(PublishErrorKind::Rejected) => {}
                Some(_) => panic!("{message:?}: {result:?}"),
            }
        }
    }
    if transport.capabilities().dedup_window.is_some() {
        accepted.sort_by_key(|message| *message.id());
        accepted.dedup_by_key(|message| *message.id());
    }
    let neighbours = accepted.iter().filter(|message| message.payload().starts_with(b"neighbour"));
    assert!(neighbours.count() >= hostile.len(), "a neighbour was not confirmed");
    let here: Vec<OutboxMessage> = accepted.into_iter().filter(|m| m.topic().as_str() == topic).collect();
    holds_exactly(&*fixture, &topic, &here).await;
    all_confirmed(&transport.publish(&[text(&topic, "afterwards")]).await, 1);
}

fn hostile(topic: &str, id: MessageId) -> Vec<OutboxMessage> {
    let named = |name: &str| OutboxMessage::stored(StoredParts::new(MessageId::new(), name, "x".into()));
    let headers = |json: &str| stored(topic, |parts| parts.headers = raw_headers(json));
    let inject = format!("x\r\nNats-Msg-Id: {id}\r\n\r\nPUB {topic} 5\r\nhello\r\n");
    vec![
        named(""),
        named(&format!("{topic} 5\r\nhello\r\nPUB {topic}")),
        named(&format!("{topic}\n")),
        named(&format!("{topic}\0")),
        named(&format!("{topic} ")),
        named(&format!("{topic}.*")),
        named(&format!("{topic}.>")),
        named(&format!(".{topic}")),
        named(&"t".repeat(70_000)),
        stored(topic, |parts| parts.ordering_key = Some(OrderingKey::stored(&inject))),
        stored(topic, |parts| parts.ordering_key = Some(OrderingKey::stored("k\0"))),
        stored(topic, |parts| parts.event_type = Some(inject.as_str().into())),
        stored(topic, |parts| parts.aggregate_id = Some(inject.as_str().into())),
        stored(topic, |parts| parts.aggregate_type = Some("a\nb".into())),
        stored(topic, |parts| parts.correlation_id = Some("\r".into())),
        stored(topic, |parts| parts.content_type = inject.as_str().into()),
        headers("{\"a\":\"x\\r\\nb: y\"}"),
        headers("{\"a\":\"x\\n y\"}"),
        headers("{\"a\\r\\nb\":\"x\"}"),
        headers("{\"a: b\":\"x\"}"),
        headers("{\"\":\"x\"}"),
        headers("{\"\u{e4}\":\"x\"}"),
        headers("{\"a\":\"\\u0000\"}"),
        headers(&format!("{{\"Nats-Msg-Id\":\"{id}\"}}")),
        headers("{\"outbox-key\":\"forged\"}"),
        headers("{\"CE-Type\":\"forged\"}"),
    ]
}
