use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::header::{HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use outbox_core::{
    Headers, Limits, MessageError, MessageId, OrderingKey, OutboxMessage, RESERVED_HEADER_PREFIXES,
    StoredParts,
};

const CE_ID: HeaderName = HeaderName::from_static("ce-id");
const CE_SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");
const CE_SOURCE: HeaderName = HeaderName::from_static("ce-source");
const CE_TYPE: HeaderName = HeaderName::from_static("ce-type");
const CE_SUBJECT: HeaderName = HeaderName::from_static("ce-subject");
const CE_TIME: HeaderName = HeaderName::from_static("ce-time");
const CE_CORRELATION_ID: HeaderName = HeaderName::from_static("ce-correlationid");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");
const KEY: HeaderName = HeaderName::from_static("outbox-key");
const AGGREGATE_TYPE: HeaderName = HeaderName::from_static("outbox-aggregate-type");
const SCHEMA_VERSION: HeaderName = HeaderName::from_static("outbox-schema-version");
const VERBATIM: HeaderName = HeaderName::from_static("outbox-verbatim");

/// A message as JetStream gets it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) subject: Subject,
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

/// Why a NATS message is not an outbox message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsDecodeError {
    /// A header that every outbox message has is missing.
    #[error("the message has no {name} header; it was not published by an outbox")]
    MissingHeader {
        /// The header.
        name: &'static str,
    },
    /// A header has a value that the outbox does not write.
    #[error("the header {name} has a value that the outbox does not write")]
    MalformedHeader {
        /// The header.
        name: &'static str,
    },
    /// A field breaks a limit of the outbox.
    #[error(transparent)]
    Message(#[from] MessageError),
}

pub(crate) fn encode(message: &OutboxMessage, source: &str) -> Result<Record, EncodeError> {
    message.check(&without_sizes())?;
    let subject = message.topic().as_str();
    if is_reserved(subject) {
        return Err(EncodeError::ReservedSubject { topic: subject.to_owned() });
    }
    let id = message.id().to_string();
    let mut out = Writer::default();
    out.put(NATS_MESSAGE_ID, &id)?;
    out.put(CE_ID, &id)?;
    out.put(CE_SPECVERSION, "1.0")?;
    out.put(CE_SOURCE, source)?;
    out.put(CE_TYPE, message.event_type())?;
    out.put(CONTENT_TYPE, message.content_type())?;
    out.put(SCHEMA_VERSION, &message.schema_version().to_string())?;
    out.put_some(KEY, message.ordering_key().map(OrderingKey::as_str))?;
    out.put_some(CE_SUBJECT, message.aggregate_id())?;
    out.put_some(AGGREGATE_TYPE, message.aggregate_type())?;
    out.put_some(CE_CORRELATION_ID, message.correlation_id())?;
    out.put_some(CE_TIME, message.created_at().and_then(rfc3339).as_deref())?;
    for (name, value) in message.headers().iter() {
        let known = HeaderName::from_str(name).map_err(|_| EncodeError::Header { name: name.to_owned() })?;
        out.put(known, value)?;
    }
    Ok(Record { subject: subject.into(), headers: out.finish()?, payload: message.payload().clone() })
}

/// Reads a message that [`NatsTransport`](crate::NatsTransport) has published, for a consumer with an `async_nats`
/// subscription of its own.
///
/// `available_at` and `max_attempts` are matters of the relay and don't travel.
///
/// # Errors
///
/// [`NatsDecodeError`] if it is not one.
pub fn decode(message: &Message) -> Result<OutboxMessage, NatsDecodeError> {
    let none = HeaderMap::new();
    let input = Reader::new(message.headers.as_ref().unwrap_or(&none))?;
    let malformed = |name| NatsDecodeError::MalformedHeader { name };

    let id = input.get(&NATS_MESSAGE_ID).or_else(|| input.get(&CE_ID));
    let id = id.ok_or(NatsDecodeError::MissingHeader { name: "Nats-Msg-Id" })?;
    let mut parts = StoredParts::new(MessageId::from_str(id)?, &message.subject, message.payload.clone());
    parts.ordering_key = input.get(&KEY).map(OrderingKey::stored);
    parts.event_type = input.text(&CE_TYPE).filter(|name| **name != *message.subject);
    parts.aggregate_type = input.text(&AGGREGATE_TYPE);
    parts.aggregate_id = input.text(&CE_SUBJECT);
    parts.correlation_id = input.text(&CE_CORRELATION_ID);
    parts.created_at = input.get(&CE_TIME).and_then(|time| humantime::parse_rfc3339(time).ok());
    if let Some(content_type) = input.text(&CONTENT_TYPE) {
        parts.content_type = content_type;
    }
    if let Some(version) = input.get(&SCHEMA_VERSION) {
        parts.schema_version = version.parse().map_err(|_| malformed("outbox-schema-version"))?;
    }
    parts.headers = input.user_headers()?;
    let message = OutboxMessage::stored(parts);
    message.check(&without_sizes())?;
    Ok(message)
}

/// Sizes are the broker's business, and it says so itself; characters that would end a line are ours.
fn without_sizes() -> Limits {
    let mut limits = Limits::default();
    limits.payload = usize::MAX;
    limits.headers = usize::MAX;
    limits.header_count = usize::MAX;
    limits
}

/// `$JS.API.STREAM.DELETE.ORDERS` as a topic would delete a stream. Key-value buckets are the one thing below `$` that
/// users publish to.
fn is_reserved(subject: &str) -> bool {
    subject.starts_with("_INBOX") || (subject.starts_with('$') && !subject.starts_with("$KV."))
}

/// `None` outside the years 1970 to 9999, which the format can't write.
fn rfc3339(time: SystemTime) -> Option<String> {
    time.duration_since(UNIX_EPOCH).ok()?;
    let mut text = String::new();
    write!(text, "{}", humantime::format_rfc3339_nanos(time)).ok()?;
    Some(text)
}

#[derive(Default)]
struct Writer {
    headers: HeaderMap,
    verbatim: BTreeMap<String, String>,
}

impl Writer {
    /// Never the panicking conversions of `HeaderMap::insert`: what a row holds was not always checked.
    fn put(&mut self, name: HeaderName, value: &str) -> Result<(), EncodeError> {
        let text =
            HeaderValue::from_str(value).map_err(|_| EncodeError::Header { name: name.to_string() })?;
        if value.trim().len() != value.len() {
            self.verbatim.insert(name.to_string(), value.to_owned());
        }
        self.headers.insert(name, text);
        Ok(())
    }

    fn put_some(&mut self, name: HeaderName, value: Option<&str>) -> Result<(), EncodeError> {
        value.map_or(Ok(()), |value| self.put(name, value))
    }

    fn finish(mut self) -> Result<HeaderMap, EncodeError> {
        if !self.verbatim.is_empty() {
            let unwritable = |_| EncodeError::Header { name: VERBATIM.to_string() };
            let json = serde_json::to_string(&self.verbatim).map_err(unwritable)?;
            self.put(VERBATIM, &json)?;
        }
        Ok(self.headers)
    }
}

struct Reader<'a> {
    headers: &'a HeaderMap,
    verbatim: BTreeMap<String, String>,
}

impl<'a> Reader<'a> {
    fn new(headers: &'a HeaderMap) -> Result<Self, NatsDecodeError> {
        let verbatim = match headers.get(VERBATIM) {
            None => BTreeMap::new(),
            Some(json) => serde_json::from_str(json.as_str())
                .map_err(|_| NatsDecodeError::MalformedHeader { name: "outbox-verbatim" })?,
        };
        Ok(Self { headers, verbatim })
    }

    fn get(&self, name: &HeaderName) -> Option<&str> {
        let wire = self.headers.get(name.clone())?.as_str();
        // Only white space may differ: a forged `outbox-verbatim` can't say something else than the header that a
        // proxy or an operator sees.
        let exact = self.verbatim.get::<str>(name.as_ref()).filter(|exact| exact.trim() == wire.trim());
        Some(exact.map_or(wire, String::as_str))
    }

    fn text(&self, name: &HeaderName) -> Option<Box<str>> {
        self.get(name).map(Into::into)
    }

    fn user_headers(&self) -> Result<Headers, NatsDecodeError> {
        let mut user = BTreeMap::new();
        for (name, _) in self.headers.iter() {
            let text: &str = name.as_ref();
            let lower = text.to_ascii_lowercase();
            if !RESERVED_HEADER_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
                user.insert(text, self.get(name));
            }
        }
        if user.is_empty() {
            return Ok(Headers::new());
        }
        let json = serde_json::to_string(&user).unwrap_or_default();
        Ok(Headers::from_json(&json)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn received(record: Record) -> Message {
        Message {
            subject: record.subject,
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
            let record = encode(&message, "outbox").unwrap();
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
        let record = encode(&message, "outbox").unwrap();
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
            let record = encode(&stored(|parts| parts.created_at = Some(time)), "outbox").unwrap();
            assert!(record.headers.get(CE_TIME).is_none());
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
            assert!(encode(&message, "outbox").is_err(), "{message:?}");
        }
        encode(
            &stored(|parts| *parts = StoredParts::new(parts.id, "$KV.bucket.key", Bytes::new())),
            "outbox",
        )
        .unwrap();
    }

    #[test]
    fn a_foreign_message_is_an_error() {
        let mut message = received(encode(&stored(|_| ()), "outbox").unwrap());
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
        assert!(matches!(decode(&message), Err(NatsDecodeError::MissingHeader { .. })));
    }
}
