use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use outbox_core::bytes::Bytes;
use outbox_core::{
    DuePosition, Headers, Lane, MessageId, OrderingKey, OutboxMessage, RowId, ShardId, StoredMessage,
    StoredParts, Topic,
};
use uuid::Uuid;

/// The columns of a statement for [`crate::Driver::messages`], in this order. Their types are those of the fields of
/// [`MessageRow`]. A row of `outbox_messages` has just the first [`FRESH_COLUMNS`] of them: nearly every row is one, and
/// some clients copy each value that there is.
pub const MESSAGE_COLUMNS: [&str; 22] = [
    "seq",
    "shard",
    "id",
    "topic",
    "ordering_key",
    "event_type",
    "schema_version",
    "aggregate_type",
    "aggregate_id",
    "correlation_id",
    "content_type",
    "headers",
    "payload",
    "created_at_us",
    "available_at_us",
    "due_in_us",
    "max_attempts",
    "number",
    "lane",
    "attempts",
    "held",
    "due_at_us",
];

/// How many of [`MESSAGE_COLUMNS`] a row of `outbox_messages` has.
pub const FRESH_COLUMNS: usize = 17;

/// A row as a driver reads it, borrowed from the driver's buffer. The fields are the columns [`MESSAGE_COLUMNS`].
///
/// Texts are bytes: not every database makes sure that they are UTF-8, and a row that is not must be set aside instead
/// of failing the whole read, again and again.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the columns of the tables")]
pub struct MessageRow<'r> {
    pub seq: i64,
    pub shard: i64,
    /// The 16 bytes of the UUID.
    pub id: &'r [u8],
    pub topic: &'r [u8],
    pub ordering_key: Option<&'r [u8]>,
    pub event_type: Option<&'r [u8]>,
    pub schema_version: i64,
    pub aggregate_type: Option<&'r [u8]>,
    pub aggregate_id: Option<&'r [u8]>,
    pub correlation_id: Option<&'r [u8]>,
    pub content_type: &'r [u8],
    /// A JSON object of strings, as text.
    pub headers: &'r [u8],
    pub payload: &'r [u8],
    pub created_at_us: i64,
    pub available_at_us: Option<i64>,
    /// For a row of `outbox_messages` whose `available_at` is in the future: how long until then.
    pub due_in_us: Option<i64>,
    pub max_attempts: Option<i64>,
    /// Of a row that is not in `outbox_messages`: the columns after [`FRESH_COLUMNS`].
    pub set_aside: Option<SetAside>,
}

/// What a row has in `outbox_deferred` and `outbox_dead_letters` beside its message.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "the columns of the tables")]
pub struct SetAside {
    pub number: i64,
    /// 1: `outbox_deferred`, 2: `outbox_dead_letters`.
    pub lane: i64,
    pub attempts: i64,
    /// 1 if the row waits behind another.
    pub held: i64,
    /// For a row of `outbox_deferred` that waits for a time: when that is.
    pub due_at_us: Option<i64>,
}

impl MessageRow<'_> {
    /// The message, and what has happened to it so far. What can't be read is named in [`StoredMessage::defect`].
    #[must_use]
    pub fn into_stored(self) -> StoredMessage {
        let mut defect = None;
        let message = self.message(&mut defect);
        let mut stored =
            StoredMessage::fresh(self.seq, ShardId::try_from(self.shard).unwrap_or(ShardId::MAX), message);
        stored.due_in = self.due_in_us.and_then(|us| u64::try_from(us).ok()).map(Duration::from_micros);
        stored.defect = defect;
        if let Some(SetAside { number, lane, attempts, held, due_at_us }) = self.set_aside {
            stored.row = RowId { lane: if lane == 2 { Lane::Dead } else { Lane::Deferred }, number };
            stored.attempts = u16::try_from(attempts.max(0)).unwrap_or(u16::MAX);
            stored.held = held != 0;
            stored.due_position = due_at_us.map(|due_at| DuePosition { due_at, number });
        }
        stored
    }

    fn message(&self, defect: &mut Option<String>) -> OutboxMessage {
        let id = Uuid::from_slice(self.id).unwrap_or_else(|_| {
            note(defect, || format!("id has {} bytes instead of 16", self.id.len()));
            Uuid::nil()
        });
        let ordering_key =
            self.ordering_key.map(|key| OrderingKey::stored(&text(defect, "ordering_key", key)));
        let mut optional = |field, bytes: Option<&[u8]>| bytes.map(|bytes| text(defect, field, bytes).into());
        let event_type = optional("event_type", self.event_type);
        let aggregate_type = optional("aggregate_type", self.aggregate_type);
        let aggregate_id = optional("aggregate_id", self.aggregate_id);
        let correlation_id = optional("correlation_id", self.correlation_id);
        let content_type = text(defect, "content_type", self.content_type).into();
        let topic = Topic::stored(&text(defect, "topic", self.topic));
        let headers = text(defect, "headers", self.headers);
        let headers = Headers::from_json(&headers).unwrap_or_else(|error| {
            note(defect, || error.to_string());
            Headers::new()
        });
        let schema_version = i32::try_from(self.schema_version).unwrap_or_else(|_| {
            note(defect, || format!("schema_version is {}", self.schema_version));
            i32::MAX
        });
        let max_attempts = self.max_attempts.and_then(|tries| {
            let converted = u16::try_from(tries);
            if converted.is_err() {
                note(defect, || format!("max_attempts is {tries}"));
            }
            converted.ok()
        });
        OutboxMessage::stored(StoredParts {
            id: MessageId::from_uuid(id),
            topic,
            ordering_key,
            event_type,
            schema_version,
            aggregate_type,
            aggregate_id,
            correlation_id,
            content_type,
            headers,
            payload: Bytes::copy_from_slice(self.payload),
            created_at: Some(time(self.created_at_us)),
            available_at: self.available_at_us.map(time),
            max_attempts,
        })
    }
}

/// The first defect is the one that is told.
fn note(defect: &mut Option<String>, what: impl FnOnce() -> String) {
    defect.get_or_insert_with(what);
}

fn text<'b>(defect: &mut Option<String>, field: &str, bytes: &'b [u8]) -> Cow<'b, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(error) => {
            note(defect, || format!("{field} is not UTF-8 from byte {} on", error.valid_up_to()));
            String::from_utf8_lossy(bytes)
        }
    }
}

/// Microseconds since 1970 as a time.
pub(crate) fn time(microseconds: i64) -> SystemTime {
    let distance = Duration::from_micros(microseconds.unsigned_abs());
    let time = if microseconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> MessageRow<'static> {
        MessageRow {
            seq: 5,
            shard: 3,
            id: &[9; 16],
            topic: b"orders.placed",
            ordering_key: Some(b"order-7"),
            event_type: None,
            schema_version: 1,
            aggregate_type: None,
            aggregate_id: None,
            correlation_id: None,
            content_type: b"application/json",
            headers: br#"{"tenant":"acme"}"#,
            payload: b"{}",
            created_at_us: 1_000_001,
            available_at_us: None,
            due_in_us: None,
            max_attempts: None,
            set_aside: None,
        }
    }

    #[test]
    fn a_fresh_row_becomes_a_message() {
        let stored = row().into_stored();
        assert_eq!((stored.row, stored.seq, stored.shard), (RowId::fresh(5), 5, 3));
        assert_eq!(stored.message.topic().as_str(), "orders.placed");
        assert_eq!(stored.message.event_type(), "orders.placed");
        assert_eq!(stored.message.headers().get("tenant"), Some("acme"));
        assert_eq!(
            stored.message.created_at(),
            Some(SystemTime::UNIX_EPOCH + Duration::from_micros(1_000_001))
        );
        assert_eq!((stored.defect, stored.due_in, stored.due_position), (None, None, None));
    }

    #[test]
    fn a_deferred_row_has_a_place_among_due_times() {
        let set_aside = SetAside { number: 7, lane: 1, attempts: 70_000, held: 0, due_at_us: Some(11) };
        let stored = MessageRow { set_aside: Some(set_aside), ..row() }.into_stored();
        assert_eq!(stored.row, RowId::deferred(7));
        assert_eq!(stored.due_position, Some(DuePosition { due_at: 11, number: 7 }));
        assert_eq!(stored.attempts, u16::MAX);
        assert!(!stored.held);
        let held = SetAside { held: 1, ..set_aside };
        assert!(MessageRow { set_aside: Some(held), ..row() }.into_stored().held);
    }

    #[test]
    fn what_cannot_be_read_is_a_defect_and_the_rest_is_kept() {
        let cases = [
            (MessageRow { headers: b"[1]", ..row() }, "JSON object"),
            (MessageRow { headers: b"{\"a\":1}", ..row() }, "JSON object"),
            (
                MessageRow { ordering_key: Some(b"a\xff"), ..row() },
                "ordering_key is not UTF-8 from byte 1 on",
            ),
            (MessageRow { topic: b"\xc3", ..row() }, "topic is not UTF-8"),
            (MessageRow { id: b"short", ..row() }, "id has 5 bytes"),
            (MessageRow { schema_version: 1 << 40, ..row() }, "schema_version is"),
            (MessageRow { max_attempts: Some(-1), ..row() }, "max_attempts is -1"),
        ];
        for (row, expected) in cases {
            let stored = row.into_stored();
            let defect = stored.defect.unwrap_or_default();
            assert!(defect.contains(expected), "{defect:?} does not name {expected:?}");
            assert_eq!(&stored.message.payload()[..], b"{}");
        }
    }

    #[test]
    fn times_far_away_do_not_panic() {
        for microseconds in [i64::MIN, -1, 0, i64::MAX] {
            let _ = MessageRow { created_at_us: microseconds, ..row() }.into_stored();
        }
    }
}
