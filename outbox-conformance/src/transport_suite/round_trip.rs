//! What was confirmed is in the broker, unchanged.

use std::sync::Arc;

use super::publishing::{assert_same, builder, holds_exactly, large, publish_all, raw_headers, stored, text};
use super::{Received, TransportFixture};
use outbox_core::{OrderingKey, OutboxMessage};

/// Everything that was confirmed is there once, and the messages of a key stand in the order of their publishing.
pub async fn confirmed_messages_are_read_back_in_key_order<F: TransportFixture>(fixture: Arc<F>) {
    let topics = [fixture.topic("first"), fixture.topic("second")];
    let mut messages = Vec::new();
    for round in 0..12 {
        for key in 0..8 {
            let topic = &topics[key % 2];
            messages.push(builder(topic, format!("{key}/{round}")).ordering_key(key).build().unwrap());
        }
        messages.push(text(&topics[0], format!("free/{round}")));
    }
    publish_all(&*fixture.transport(), &messages).await;
    for topic in &topics {
        let sent: Vec<OutboxMessage> =
            messages.iter().filter(|m| m.topic().as_str() == topic).cloned().collect();
        holds_exactly(&*fixture, topic, &sent).await;
        let found = fixture.read_back(topic).await;
        for key in (0..8).map(|key| key.to_string()) {
            let of_key = |received: &&Received| received.key.as_ref() == Some(&key);
            let ids: Vec<String> = found.iter().filter(of_key).map(|received| received.id.clone()).collect();
            let expected: Vec<Received> = sent.iter().map(Received::from).collect();
            let expected: Vec<String> =
                expected.iter().filter(of_key).map(|received| received.id.clone()).collect();
            assert_eq!(ids, expected, "order of key {key} in {topic}");
        }
    }
}

/// Key, headers, attributes and payload arrive as they were given, whatever characters they hold.
pub async fn every_field_travels_unchanged<F: TransportFixture>(fixture: Arc<F>) {
    let topic = fixture.topic("fields");
    let plain = || builder(&topic, "plain");
    let messages = [
        plain().build().unwrap(),
        plain()
            .ordering_key("order-7")
            .event_type("OrderPlaced")
            .schema_version(i32::MAX)
            .aggregate("order", 7)
            .correlation_id("c-1")
            .content_type("application/json; charset=utf-8")
            .build()
            .unwrap(),
        plain()
            .ordering_key("k".repeat(512))
            .event_type("e".repeat(255))
            .aggregate("a".repeat(255), "i".repeat(255))
            .build()
            .unwrap(),
        plain().ordering_key("\u{1F980}".repeat(128)).event_type("bestellt/\u{fc}").build().unwrap(),
        plain()
            .header("tenant", "acme")
            .header("Mixed-CASE", "\u{1F980} caf\u{e9}")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .header("punctuation", "a: b; \"c\", 'd' \\ {e} %20 =?utf-8?")
            .header("!#$%&'*+-.^_`|~", "a token may look like this")
            .header("n".repeat(127), "v")
            .header("long", "v".repeat(30_000))
            .header("empty", "")
            .build()
            .unwrap(),
        stored(&topic, |parts| {
            parts.ordering_key = Some(OrderingKey::stored(" key with space around\t"));
            parts.correlation_id = Some("\u{a0}c".into());
            parts.headers = raw_headers("{\"blank\":\" \",\"pad\":\"  x\\t\",\"wide\":\"\\u3000x\"}");
        }),
        stored(&topic, |parts| parts.payload = (0..=255).collect()),
        stored(&topic, |parts| parts.payload = "\r\n\0\r\n+OK\r\n".into()),
        stored(&topic, |parts| parts.payload = "".into()),
    ];
    publish_all(&*fixture.transport(), &messages).await;
    holds_exactly(&*fixture, &topic, &messages).await;
}

/// A payload of the size that every supported broker takes as it is installed.
pub async fn a_megabyte_travels_unchanged<F: TransportFixture>(fixture: Arc<F>) {
    let topic = fixture.topic("large");
    let message = large(&topic, 1_000_000);
    publish_all(&*fixture.transport(), std::slice::from_ref(&message)).await;
    let found = fixture.read_back(&topic).await;
    assert_eq!(found.len(), 1);
    assert_same(&found[0], &Received::from(&message));
}
