//! Rows that were written without this library.

use std::sync::Arc;

use outbox_core::{DeadReason, Limits, OrderingKey, OutboxMessage, Outcome, StoredMessage};

use super::message::{ids_of, message};
use super::relay::{TestRelay, ids};
use crate::{RawRow, StoreFixture};

/// A row that names only what has no default is a message with the documented defaults.
pub async fn a_plain_insert_has_defaults<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let row = RawRow::new("foreign.topic", &b"\x00\xff"[..]);
    fixture.insert_raw(row.clone()).await.unwrap();
    let keyed = RawRow { ordering_key: Some("k".to_owned()), ..RawRow::new("foreign.topic", "x") };
    fixture.insert_raw(keyed).await.unwrap();
    let rows = relay.fresh().await;
    assert_eq!(rows.len(), 2);
    let message = &rows[0].message;
    assert_eq!((message.id(), message.topic().as_str()), (&row.id, "foreign.topic"));
    assert_eq!(&message.payload()[..], b"\x00\xff");
    assert_eq!((message.event_type(), message.schema_version()), ("foreign.topic", 1));
    assert_eq!(message.content_type(), OutboxMessage::DEFAULT_CONTENT_TYPE);
    assert_eq!((message.aggregate_type(), message.aggregate_id()), (None, None));
    assert_eq!((message.correlation_id(), message.ordering_key()), (None, None));
    assert!(message.headers().is_empty());
    assert!(message.created_at().is_some());
    assert_eq!((message.available_at(), message.max_attempts()), (None, None));
    assert_eq!((rows[0].defect.as_ref(), rows[0].due_in), (None, None));
    assert_eq!(rows[1].message.ordering_key(), Some(&OrderingKey::stored("k")));
}

/// Headers that are no object of strings are refused by the table, or make a row with a defect: never a message without
/// its headers, and never an end to all reading.
pub async fn unreadable_headers_are_a_defect<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let healthy = [message(), message()];
    fixture.enqueue(&healthy[..1]).await;
    let mut stored = Vec::new();
    for json in [r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":{"b":"c"}}"#, "[]", "\"text\"", "7", "not json", ""] {
        let row = RawRow::new("foreign.topic", "x").with_headers(json);
        if fixture.insert_raw(row.clone()).await.is_ok() {
            stored.push(row.id);
        }
    }
    fixture.enqueue(&healthy[1..]).await;
    let rows = relay.fresh().await;
    let (broken, sound): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.defect.is_some());
    assert_eq!(broken.iter().map(|row| *row.message.id()).collect::<Vec<_>>(), stored);
    assert_eq!(sound.iter().map(|row| *row.message.id()).collect::<Vec<_>>(), ids_of(&healthy));

    // What can't be read can still be set aside.
    let outcomes: Vec<_> = broken.iter().map(|row| (row.row, undecodable(row))).collect();
    assert_eq!(relay.settle(&outcomes).await, stored.len() as u64);
    let dead = relay.dead().await;
    assert_eq!(dead.len(), stored.len());
    assert!(dead.iter().all(|letter| letter.reason == DeadReason::Undecodable.as_str()));
}

/// Text that a broker or a protocol can't carry is refused by the table, or read as what it is: with a defect, or as a
/// message that does not pass [`OutboxMessage::check`]. Never cut or cleaned into something valid.
pub async fn text_that_no_broker_carries_stays_invalid<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let row = || RawRow::new("foreign.topic", "x");
    let with_topic = |topic: &str| RawRow::new(topic, "x");
    let with_key = |key: String| RawRow { ordering_key: Some(key), ..row() };
    let foreign = [
        row().with_headers(r#"{"a":"x\r\nNats-Msg-Id: 1"}"#),
        row().with_headers(r#"{"a\r\nb":"x"}"#),
        row().with_headers(r#"{"nats-msg-id":"1"}"#),
        with_topic(""),
        with_topic("a b"),
        with_topic("a.*"),
        with_topic(&"t".repeat(Limits::TOPIC + 1)),
        with_key(String::new()),
        with_key("a\nb".to_owned()),
        with_key("k".repeat(Limits::ORDERING_KEY + 1)),
    ];
    for row in foreign {
        if fixture.insert_raw(row.clone()).await.is_err() {
            continue;
        }
        let rows = relay.fresh().await;
        assert_eq!(ids(&rows), [row.id]);
        let invalid = rows[0].defect.is_some() || rows[0].message.check(&Limits::default()).is_err();
        assert!(invalid, "{row:?} was read as {:?}", rows[0].message);
        assert_eq!(relay.settle(&[(rows[0].row, undecodable(&rows[0]))]).await, 1);
    }
}

fn undecodable(row: &StoredMessage) -> Outcome {
    Outcome::Dead {
        attempts: 0,
        reason: DeadReason::Undecodable,
        error: row.defect.clone(),
        parked_behind: None,
    }
}
