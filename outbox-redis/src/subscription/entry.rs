use bytes::Bytes;
use outbox_core::{DecodeError, OutboxMessage, Undecodable};
use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

use crate::fields::{PAYLOAD, decode};

/// An entry of a stream. Anybody may have written it, with names that are no text, and one that can't be read would keep
/// back everything that is in the same answer: nothing is asked of them here.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    /// Names and values, in their order.
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    pub(super) fn message(self, topic: &str) -> Result<OutboxMessage, Undecodable> {
        let (payloads, others): (Vec<_>, Vec<_>) =
            self.fields.into_iter().partition(|(name, _)| name == PAYLOAD.as_bytes());
        let payload = payloads.into_iter().next_back().map(|(_, value)| Bytes::from(value));
        let texts =
            others.iter().map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value.as_slice())));
        let message = match texts.collect::<Option<Vec<_>>>() {
            Some(others) => decode(topic, payload.clone(), others),
            None => Err(DecodeError::MalformedBody { problem: "the name of a field is no text".to_owned() }),
        };
        let payload = payload.unwrap_or_default();
        message.map_err(|error| Undecodable { topic: topic.to_owned(), error, payload })
    }
}

impl FromRedisValue for Entry {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (id, fields) = from_redis_value(value)?;
        Ok(Self { id, fields })
    }
}

/// Entries, without those that were deleted.
#[derive(Debug, Default)]
pub(super) struct Entries(pub(super) Vec<Entry>);

impl FromRedisValue for Entries {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let entries: Vec<Option<Entry>> = from_redis_value(value)?;
        Ok(Self(entries.into_iter().flatten().collect()))
    }
}

/// What `XREADGROUP` answers: the keys of streams, and what is new there.
pub(super) type Read = Vec<(Vec<u8>, Entries)>;

/// What `XAUTOCLAIM` answers.
#[derive(Debug)]
pub(super) struct Claimed {
    /// Where to go on.
    pub(super) next: String,
    pub(super) entries: Vec<Entry>,
    /// How many were deleted.
    pub(super) deleted: usize,
}

impl FromRedisValue for Claimed {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut parts = from_redis_value::<Vec<Value>>(value)?.into_iter();
        let mut part = || parts.next().unwrap_or_default();
        let next = from_redis_value(part())?;
        let Entries(entries) = from_redis_value(part())?;
        // Before Redis 7 they are not named.
        let deleted: Vec<Value> = from_redis_value(part())?;
        Ok(Self { next, entries, deleted: deleted.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    fn entry(id: &[u8], fields: &[&[u8]]) -> Value {
        Value::Array(vec![text(id), Value::Array(fields.iter().map(|field| text(field)).collect())])
    }

    fn ids(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.id.as_str()).collect()
    }

    #[test]
    fn entries_that_were_deleted_are_left_out() {
        let entries = || Value::Array(vec![Value::Nil, entry(b"1-0", &[b"a", b"b"]), Value::Nil]);
        let of_redis_6: Claimed = from_redis_value(Value::Array(vec![text(b"0-0"), entries()])).unwrap();
        assert_eq!((ids(&of_redis_6.entries), of_redis_6.deleted), (vec!["1-0"], 0));
        let gone = Value::Array(vec![text(b"2-0"), text(b"3-0")]);
        let claimed: Claimed = from_redis_value(Value::Array(vec![text(b"4-0"), entries(), gone])).unwrap();
        assert_eq!((claimed.next.as_str(), claimed.deleted), ("4-0", 2));
        let read: Read =
            from_redis_value(Value::Array(vec![Value::Array(vec![text(b"t"), entries()])])).unwrap();
        assert_eq!((read[0].0.as_slice(), ids(&read[0].1.0)), (&b"t"[..], vec!["1-0"]));
        assert!(from_redis_value::<Read>(Value::Nil).unwrap().is_empty());
    }

    #[test]
    fn a_name_that_is_no_text_makes_an_entry_undecodable() {
        let id = outbox_core::MessageId::new().to_string();
        let fields: [&[u8]; 6] = [b"ce-id", id.as_bytes(), b"payload", b"x", b"\xff", b"y"];
        let good: Entry = from_redis_value(entry(b"1-0", &fields[..4])).unwrap();
        assert_eq!(&good.message("t").unwrap().payload()[..], b"x");
        let odd: Entry = from_redis_value(entry(b"1-0", &fields)).unwrap();
        let undecodable = odd.message("t").unwrap_err();
        assert_eq!((undecodable.topic.as_str(), &undecodable.payload[..]), ("t", &b"x"[..]));
    }
}
