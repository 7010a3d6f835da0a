use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use outbox_core::{
    Headers, MessageBuilder, OutboxMessage, PublishError, PublishErrorKind, StoredParts, Transport,
};
use tokio::time::{Instant, sleep};

use super::{Received, TransportFixture};

pub(super) type PublishResult = Result<(), PublishError>;

/// How much later than promised a call may return on a busy machine.
pub(super) const MARGIN: Duration = Duration::from_secs(3);

pub(super) fn text(topic: &str, payload: impl Into<String>) -> OutboxMessage {
    builder(topic, payload).build().unwrap()
}

pub(super) fn builder(topic: &str, payload: impl Into<String>) -> MessageBuilder {
    OutboxMessage::bytes(topic, payload.into()).unwrap()
}

/// Messages without a key, `m0` to `m<count - 1>`.
pub(super) fn texts(topic: &str, count: usize) -> Vec<OutboxMessage> {
    (0..count).map(|n| text(topic, format!("m{n}"))).collect()
}

pub(super) fn large(topic: &str, bytes: usize) -> OutboxMessage {
    // Not one byte over and over: a piece that is lost or doubled must show.
    let payload: Vec<u8> =
        (0..bytes as u64).map(|n| (n.wrapping_mul(2_654_435_761) >> 16).to_le_bytes()[0]).collect();
    stored(topic, |parts| parts.payload = payload.into())
}

/// A message as it may come from a table, past every check.
pub(super) fn stored(topic: &str, change: impl FnOnce(&mut StoredParts)) -> OutboxMessage {
    let mut parts = StoredParts::new(outbox_core::MessageId::new(), topic, Bytes::from_static(b"stored"));
    change(&mut parts);
    OutboxMessage::stored(parts)
}

pub(super) fn raw_headers(json: &str) -> Headers {
    Headers::from_json(json).unwrap()
}

/// Publishes as the relay would: in batches of the size that the transport takes, and with one message per key in each
/// where it promises no more. Everything must be confirmed.
pub(super) async fn publish_all(transport: &dyn Transport, messages: &[OutboxMessage]) {
    for batch in batches(transport, messages) {
        all_confirmed(&transport.publish(&batch).await, batch.len());
    }
}

pub(super) fn batches(transport: &dyn Transport, messages: &[OutboxMessage]) -> Vec<Vec<OutboxMessage>> {
    let capabilities = transport.capabilities();
    let most = capabilities.max_batch.min(capabilities.max_in_flight);
    let mut batches = vec![Vec::new()];
    let mut keys = HashSet::new();
    for message in messages {
        let key = message.ordering_key().filter(|_| !capabilities.pipelined_order);
        let held = key.is_some_and(|key| keys.contains(key));
        let batch = batches.last_mut().unwrap();
        if held || batch.len() == most {
            keys.clear();
            batches.push(vec![message.clone()]);
        } else {
            batch.push(message.clone());
        }
        keys.extend(key.cloned());
    }
    batches
}

pub(super) fn all_confirmed(results: &[PublishResult], count: usize) {
    assert_eq!(results.len(), count, "one result per message");
    for (position, result) in results.iter().enumerate() {
        assert!(result.is_ok(), "message {position}: {result:?}");
    }
}

pub(super) fn kind(result: &PublishResult) -> Option<PublishErrorKind> {
    result.as_ref().err().map(PublishError::kind)
}

/// Neither confirmed, nor the message's fault.
pub(super) fn is_outage(result: &PublishResult) -> bool {
    matches!(kind(result), Some(PublishErrorKind::Unavailable | PublishErrorKind::Unknown))
}

/// Publishes until it is confirmed, as a relay would that waits for a broker: resets after each unknown outcome.
pub(super) async fn publish_until_confirmed(transport: &dyn Transport, message: &OutboxMessage) {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let results = transport.publish(std::slice::from_ref(message)).await;
        assert_eq!(results.len(), 1);
        if results[0].is_ok() {
            return;
        }
        assert!(Instant::now() < deadline, "still failing: {:?}", results[0]);
        transport.reset().await;
        pause().await;
    }
}

/// The topic has exactly these messages, in any order.
pub(super) async fn holds_exactly<F: TransportFixture>(fixture: &F, topic: &str, messages: &[OutboxMessage]) {
    let mut found = fixture.read_back(topic).await;
    let mut expected: Vec<Received> = messages.iter().map(Received::from).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(found.len(), expected.len(), "messages in {topic}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_same(found, expected);
    }
}

/// Like `assert_eq`, without a megabyte of payload in its text.
pub(super) fn assert_same(found: &Received, expected: &Received) {
    let (size, start) = (expected.payload.len(), expected.payload.slice(..expected.payload.len().min(64)));
    assert_eq!(found.payload.len(), size, "bytes of payload of {}", expected.id);
    assert!(found.payload == expected.payload, "the payload of {} that begins with {start:?}", expected.id);
    let short = |received: &Received| Received { payload: Bytes::new(), ..received.clone() };
    assert_eq!(short(found), short(expected));
}

/// Watches for a while that none of the messages arrives: the one thing that can't be waited for.
pub(super) async fn never_arrive<F: TransportFixture>(fixture: &F, topic: &str, messages: &[OutboxMessage]) {
    let ids: HashSet<String> = messages.iter().map(|message| message.id().to_string()).collect();
    let deadline = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < deadline {
        let found = fixture.read_back(topic).await;
        let late = found.iter().filter(|received| ids.contains(&received.id)).count();
        assert_eq!(late, 0, "of {} that must not arrive", messages.len());
        pause().await;
    }
}

/// Between two looks at a condition.
pub(super) async fn pause() {
    sleep(Duration::from_millis(50)).await;
}
