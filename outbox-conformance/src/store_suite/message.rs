use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outbox_core::{MessageBuilder, MessageId, OutboxMessage};

/// A message without a key.
pub(super) fn message() -> OutboxMessage {
    about("suite.topic").build().unwrap()
}

/// Messages without keys.
pub(super) fn messages(count: usize) -> Vec<OutboxMessage> {
    (0..count).map(|_| message()).collect()
}

/// A message of a key.
pub(super) fn keyed(key: &str) -> OutboxMessage {
    about("suite.topic").ordering_key(key).build().unwrap()
}

/// Messages of one key.
pub(super) fn keyed_messages(key: &str, count: usize) -> Vec<OutboxMessage> {
    (0..count).map(|_| keyed(key)).collect()
}

/// A message that becomes available so long from now.
pub(super) fn delayed(delay: Duration) -> OutboxMessage {
    about("suite.topic").available_at(now_in_micros() + delay).build().unwrap()
}

pub(super) fn about(topic: &str) -> MessageBuilder {
    OutboxMessage::bytes(topic, "payload").unwrap()
}

/// A message in which no field has its default.
pub(super) fn full(key: &str) -> OutboxMessage {
    OutboxMessage::bytes("orders/eu.placed:v2", (0..=255).collect::<Vec<u8>>())
        .unwrap()
        .ordering_key(key)
        .event_type("OrderPlaced 🦀")
        .schema_version(i32::MAX)
        .aggregate("order \"quoted\" 'twice'", "ä€😀")
        .correlation_id("c\t1\\2")
        .content_type("application/vnd.acme+json; charset=utf-8")
        .header("tenant", "acme 🦀 \"x\" \\ ü")
        .header("Empty", "")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .available_at(now_in_micros() - Duration::from_secs(3_600))
        .max_attempts(1000)
        .build()
        .unwrap()
}

/// Databases keep microseconds.
pub(super) fn now_in_micros() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UNIX_EPOCH + Duration::from_micros(u64::try_from(since.as_micros()).unwrap())
}

pub(super) fn ids_of(messages: &[OutboxMessage]) -> Vec<MessageId> {
    messages.iter().map(|message| *message.id()).collect()
}

/// The message as its writer made it: without the time at which its row was inserted.
pub(super) fn as_written(message: &OutboxMessage) -> OutboxMessage {
    let mut parts = message.clone().into_parts();
    parts.created_at = None;
    OutboxMessage::stored(parts)
}
