use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use async_nats::header::{HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use outbox_core::{
    DEAD_GROUP_HEADER, DecodeError, Envelope, EnvelopeMode, EnvelopeNames, Incoming, KEY_HEADER,
    MessageError, OutboxMessage,
};

/// What the envelope calls a name, and async-nats too.
type Name<'a> = outbox_core::HeaderName<'a>;

const VERBATIM: &str = "outbox-verbatim";
const MALFORMED_VERBATIM: DecodeError = DecodeError::MalformedHeader { header: VERBATIM };

/// A message as JetStream gets it, on the subject of its topic.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// Why a message can't be written as a NATS message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(
        "topic {topic:?} belongs to the NATS server itself; publishing there would be a command, not a message"
    )]
    ReservedSubject { topic: String },
    #[error("header {name} has a name or a value that NATS can't carry")]
    Header { name: String },
}

pub(crate) fn encode(message: &OutboxMessage, envelope: &Envelope) -> Result<Record, EncodeError> {
    let mut out = HeaderWriter::default();
    envelope.write(message, |name, value| out.put(name, value))?;
    let subject = message.topic().as_str();
    if is_reserved(subject) {
        return Err(EncodeError::ReservedSubject { topic: subject.to_owned() });
    }
    // The broker's own field, by which it drops a second copy.
    let mut buffer = uuid::Uuid::encode_buffer();
    out.put_known(NATS_MESSAGE_ID, message.id().as_uuid().hyphenated().encode_lower(&mut buffer))?;
    if let (EnvelopeMode::CloudEvents, Some(key)) = (envelope.mode(), message.ordering_key()) {
        out.put(Name::Fixed(KEY_HEADER), key.as_str())?;
    }
    Ok(Record { headers: out.finish()?, payload: message.payload().clone() })
}

/// Reads a message that [`NatsTransport`](crate::NatsTransport) has published, for a consumer with an `async_nats`
/// subscription of its own. A dead letter of [`Delivery::dead_letter`](outbox_core::Delivery::dead_letter) is read as
/// the message that it was, on the subject of the dead letters.
///
/// `available_at` and `max_attempts` are matters of the relay and don't travel.
///
/// # Errors
///
/// [`DecodeError`] if it is not one.
pub fn decode(message: &Message) -> Result<OutboxMessage, DecodeError> {
    let none = HeaderMap::new();
    let headers = message.headers.as_ref().unwrap_or(&none);
    let verbatim: BTreeMap<String, String> = match headers.get(VERBATIM) {
        None => BTreeMap::new(),
        Some(json) => serde_json::from_str(json.as_str()).map_err(|_| MALFORMED_VERBATIM)?,
    };
    let mut incoming = Incoming::new(&message.subject, message.payload.clone());
    incoming.id = headers.get(NATS_MESSAGE_ID).map(|id| Cow::Borrowed(original_id(id.as_str(), headers)));
    incoming.headers.reserve(headers.len());
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        if let Some(value) = values.first() {
            let value = exact(&verbatim, name, value.as_str());
            incoming.headers.push((Cow::Borrowed(name), Cow::Borrowed(value)));
        }
    }
    Envelope::new(EnvelopeNames::HYPHEN).read(incoming)
}

/// The value before somebody trimmed it. Only white space may differ: a forged `outbox-verbatim` can't say something
/// else than the header that a proxy or an operator sees.
fn exact<'a>(verbatim: &'a BTreeMap<String, String>, name: &str, wire: &'a str) -> &'a str {
    let exact = verbatim.get(name).filter(|exact| exact.trim() == wire.trim());
    exact.map_or(wire, String::as_str)
}

/// What a stream drops a second copy of a dead letter by. Not the message's own id: where one stream takes both, the
/// dead letter would be the second copy.
#[cfg(any(feature = "subscription", test))]
pub(crate) fn dead_id(id: &str, group: &str) -> String {
    format!("{id}.{group}.dead")
}

fn original_id<'a>(id: &'a str, headers: &HeaderMap) -> &'a str {
    let Some(group) = headers.get(DEAD_GROUP_HEADER) else {
        return id;
    };
    let without = |id: &'a str| id.strip_suffix(".dead")?.strip_suffix(group.as_str())?.strip_suffix('.');
    without(id).unwrap_or(id)
}

/// `$JS.API.STREAM.DELETE.ORDERS` as a topic would delete a stream. Key-value buckets are the one thing below `$` that
/// users publish to.
pub(crate) fn is_reserved(subject: &str) -> bool {
    subject.starts_with("_INBOX") || (subject.starts_with('$') && !subject.starts_with("$KV."))
}

#[derive(Default)]
struct HeaderWriter {
    headers: HeaderMap,
    verbatim: BTreeMap<String, String>,
}

impl HeaderWriter {
    fn put(&mut self, name: Name<'_>, value: &str) -> Result<(), EncodeError> {
        let known = match name {
            Name::Fixed(name) => HeaderName::from_static(name),
            Name::User(name) => {
                HeaderName::from_str(name).map_err(|_| EncodeError::Header { name: name.to_owned() })?
            }
        };
        self.put_known(known, value)
    }

    /// Never the panicking conversions of `HeaderMap::insert`: what a row holds was not always checked.
    fn put_known(&mut self, name: HeaderName, value: &str) -> Result<(), EncodeError> {
        let text =
            HeaderValue::from_str(value).map_err(|_| EncodeError::Header { name: name.to_string() })?;
        if value.trim().len() != value.len() {
            self.verbatim.insert(name.to_string(), value.to_owned());
        }
        self.headers.insert(name, text);
        Ok(())
    }

    fn finish(mut self) -> Result<HeaderMap, EncodeError> {
        if !self.verbatim.is_empty() {
            let unwritable = |_| EncodeError::Header { name: VERBATIM.to_owned() };
            let json = serde_json::to_string(&self.verbatim).map_err(unwritable)?;
            self.put(Name::Fixed(VERBATIM), &json)?;
        }
        Ok(self.headers)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use outbox_core::{Headers, MessageId, OrderingKey, StoredParts};

    use super::*;

    fn cloud_events() -> Envelope {
        Envelope::new(EnvelopeNames::HYPHEN)
    }

    fn received(record: Record) -> Message {
        Message {
            subject: "orders.placed".into(),
            reply: None,
            payload: record.payload,
            headers: Some(record.headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    fn stored(change: impl FnOnce(&mut StoredParts)) -> OutboxMessage {
        let mut parts = StoredParts::new(MessageId::new(), "orders.placed", Bytes::from_static(b"x"));
        change(&mut parts);
        OutboxMessage::stored(parts)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let full = stored(|parts| {
            parts.ordering_key = Some(OrderingKey::stored(&"🦀".repeat(128)));
            parts.event_type = Some("OrderPlaced".into());
            parts.schema_version = 7;
            parts.aggregate_type = Some("order".into());
            parts.aggregate_id = Some("4711".into());
            parts.correlation_id = Some("c-1".into());
            parts.content_type = "application/json".into();
            parts.headers = Headers::from_json("{\"tenant\":\"acme: 1, \\\"2\\\"\",\"Empty\":\"\"}").unwrap();
            parts.payload = Bytes::from_static(&[0, 13, 10, 255]);
            parts.created_at = Some(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_000));
        });
        for message in [stored(|_| ()), stored(|parts| parts.payload = Bytes::new()), full] {
            let record = encode(&message, &cloud_events()).unwrap();
            assert_eq!(decode(&received(record)).unwrap(), message);
        }
    }

    #[test]
    fn white_space_around_a_value_survives_readers_that_trim() {
        let message = stored(|parts| {
            parts.ordering_key = Some(OrderingKey::stored(" key\u{a0}"));
            parts.headers =
                Headers::from_json("{\"pad\":\"\\t x \",\"blank\":\" \",\"plain\":\"x\"}").unwrap();
        });
        let record = encode(&message, &cloud_events()).unwrap();
        let mut trimmed = HeaderMap::new();
        for (name, values) in record.headers.iter() {
            let value = values[0].as_str().trim();
            trimmed.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        let trimmed = Record { headers: trimmed, ..record };
        assert_eq!(decode(&received(trimmed)).unwrap(), message);
    }

    #[test]
    fn times_that_cannot_be_written_are_left_out() {
        for time in [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + Duration::from_secs(300_000_000_000)] {
            let record = encode(&stored(|parts| parts.created_at = Some(time)), &cloud_events()).unwrap();
            assert!(record.headers.get("ce-time").is_none());
        }
    }

    #[test]
    fn what_would_break_the_protocol_is_refused() {
        let bad = [
            stored(|parts| *parts = StoredParts::new(parts.id, "a b", Bytes::new())),
            stored(|parts| *parts = StoredParts::new(parts.id, "a\r\nPUB b 0", Bytes::new())),
            stored(|parts| *parts = StoredParts::new(parts.id, "", Bytes::new())),
            stored(|parts| *parts = StoredParts::new(parts.id, "orders.>", Bytes::new())),
            stored(|parts| *parts = StoredParts::new(parts.id, "$JS.API.STREAM.DELETE.ORDERS", Bytes::new())),
            stored(|parts| *parts = StoredParts::new(parts.id, "_INBOX.x", Bytes::new())),
            stored(|parts| parts.ordering_key = Some(OrderingKey::stored("k\r\nNats-Msg-Id: 1"))),
            stored(|parts| parts.event_type = Some("t\n".into())),
            stored(|parts| parts.content_type = "a\rb".into()),
            stored(|parts| parts.headers = Headers::from_json("{\"a\":\"x\\r\\nb: y\"}").unwrap()),
            stored(|parts| parts.headers = Headers::from_json("{\"a\\r\\nb\":\"x\"}").unwrap()),
            stored(|parts| parts.headers = Headers::from_json("{\"a:b\":\"x\"}").unwrap()),
            stored(|parts| parts.headers = Headers::from_json("{\"nats-msg-id\":\"x\"}").unwrap()),
            stored(|parts| parts.headers = Headers::from_json("{\"\":\"x\"}").unwrap()),
        ];
        for message in bad {
            assert!(encode(&message, &cloud_events()).is_err(), "{message:?}");
        }
        let bucket = stored(|parts| *parts = StoredParts::new(parts.id, "$KV.bucket.key", Bytes::new()));
        encode(&bucket, &cloud_events()).unwrap();
    }

    #[test]
    fn a_foreign_message_is_an_error() {
        let mut message = received(encode(&stored(|_| ()), &cloud_events()).unwrap());
        let with = |name: &'static str, value: &str| {
            let mut headers = message.headers.clone().unwrap();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            decode(&Message { headers: Some(headers), ..message.clone() })
        };
        assert!(with("Nats-Msg-Id", "not a uuid").is_err());
        assert!(with("outbox-schema-version", "1.0").is_err());
        assert!(with("outbox-schema-version", "0").is_err());
        assert!(with("outbox-verbatim", "{").is_err());
        assert!(with("outbox-verbatim", "{\"ce-type\":\"forged\"}").unwrap().event_type() == "orders.placed");
        message.headers = None;
        assert!(matches!(decode(&message), Err(DecodeError::MissingId { .. })));
    }

    #[test]
    fn raw_has_the_id_of_the_broker_and_the_users_headers() {
        let message = stored(|parts| {
            parts.ordering_key = Some(OrderingKey::stored("k"));
            parts.headers = Headers::from_json("{\"tenant\":\"acme\"}").unwrap();
        });
        let record = encode(&message, &cloud_events().with_mode(EnvelopeMode::Raw)).unwrap();
        let mut names: Vec<_> = record.headers.iter().map(|(name, _)| name.to_string()).collect();
        names.sort();
        assert_eq!(names, ["Nats-Msg-Id", "tenant"]);
        let read = decode(&received(record)).unwrap();
        assert_eq!((read.id(), read.headers().get("tenant")), (message.id(), Some("acme")));
    }

    #[test]
    fn a_dead_letter_has_the_id_of_its_message() {
        let message = stored(|_| ());
        let mut dead = received(encode(&message, &cloud_events()).unwrap());
        let headers = dead.headers.as_mut().unwrap();
        headers.insert(NATS_MESSAGE_ID, dead_id(&message.id().to_string(), "a.dead").as_str());
        headers.insert(DEAD_GROUP_HEADER, "a.dead");
        assert_eq!(decode(&dead).unwrap(), message);
    }
}
