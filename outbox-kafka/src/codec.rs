use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use outbox_core::{
    DecodeError, Envelope, EnvelopeNames, Incoming, MessageError, OrderingKey, OutboxMessage, PublishError,
};
use rdkafka::Message;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};

use crate::error::{Failure, publish_error};

/// A message as a record. Topic, key and payload stay where they are.
pub(crate) struct Encoded<'a> {
    pub(crate) message: &'a OutboxMessage,
    pub(crate) headers: OwnedHeaders,
    pub(crate) timestamp: Option<i64>,
    /// Bytes of key, payload and headers.
    pub(crate) size: usize,
}

impl<'a> Encoded<'a> {
    pub(crate) fn topic(&self) -> &'a str {
        self.message.topic().as_str()
    }
}

pub(crate) fn encode<'a>(
    message: &'a OutboxMessage,
    envelope: &Envelope,
) -> Result<Encoded<'a>, PublishError> {
    let mut headers = Some(OwnedHeaders::new_with_capacity(12 + message.headers().len()));
    let key = message.ordering_key().map_or(0, |key| key.as_str().len());
    let mut size = message.payload().len() + key;
    let written = envelope.write::<MessageError>(message, |name, value| {
        let name = name.as_str();
        size += name.len() + value.len();
        headers = headers.take().map(|headers| headers.insert(Header { key: name, value: Some(value) }));
        Ok(())
    });
    written.map_err(|error| publish_error(Failure::Unencodable(error)))?;
    let topic = message.topic().as_str();
    if !is_topic(topic) {
        return Err(publish_error(Failure::IllegalTopic(topic)));
    }
    let timestamp = message.created_at().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let timestamp = timestamp.and_then(|time| i64::try_from(time.as_millis()).ok());
    let headers = headers.unwrap_or_default();
    Ok(Encoded { message, headers, timestamp, size })
}

/// What Kafka takes as the name of a topic; its length is checked with the message.
pub(crate) fn is_topic(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !matches!(name, "" | "." | "..") && name.chars().all(legal)
}

/// Reads a message that [`KafkaTransport`](crate::KafkaTransport) has published, for a consumer with a client of its
/// own.
///
/// `available_at` and `max_attempts` are matters of the relay and don't travel. A header whose value is not text is no
/// header of an outbox and is left out: tracing agents add such.
///
/// # Errors
///
/// [`DecodeError`] if it is not one.
pub fn decode<M: Message>(record: &M) -> Result<OutboxMessage, DecodeError> {
    decode_with(record, record.payload().map(Bytes::copy_from_slice).unwrap_or_default())
}

/// [`decode`] with a payload that was taken out before.
pub(crate) fn decode_with<M: Message>(record: &M, payload: Bytes) -> Result<OutboxMessage, DecodeError> {
    let key = record.key().map(std::str::from_utf8).transpose();
    let key = key.map_err(|_| DecodeError::MalformedBody { problem: "its key is not UTF-8".to_owned() })?;
    let mut incoming = Incoming::new(record.topic(), payload);
    incoming.ordering_key = key.filter(|key| !key.is_empty());
    incoming.headers = headers(record)?;
    Envelope::new(EnvelopeNames::UNDERSCORE).read(incoming)
}

type TextHeaders<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

fn headers<M: Message>(record: &M) -> Result<TextHeaders<'_>, DecodeError> {
    let Some(headers) = record.headers() else {
        return Ok(Vec::new());
    };
    // rdkafka panics on a name that is not UTF-8, which anyone who may write to the topic can send.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let mut texts = Vec::with_capacity(headers.count());
        for header in headers.iter() {
            if let Some(Ok(value)) = header.value.map(std::str::from_utf8) {
                texts.push((Cow::Borrowed(header.key), Cow::Borrowed(value)));
            }
        }
        texts
    }));
    read.map_err(|_| DecodeError::MalformedBody { problem: "a header's name is not UTF-8".to_owned() })
}

/// The key of a message, for the order of a batch.
pub(crate) fn order_of(message: &OutboxMessage) -> Option<&str> {
    message.ordering_key().map(OrderingKey::as_str)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outbox_core::{EnvelopeMode, MessageId, StoredParts};
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    fn full() -> OutboxMessage {
        let mut parts = StoredParts::new(MessageId::new(), "orders.placed", Bytes::from_static(b"\0\xff"));
        parts.ordering_key = Some(OrderingKey::stored("\u{1F980}"));
        parts.event_type = Some("OrderPlaced".into());
        parts.aggregate_id = Some("7".into());
        parts.created_at = Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
        OutboxMessage::stored(parts)
    }

    fn received(encoded: Encoded<'_>) -> OwnedMessage {
        let message = encoded.message;
        let key = message.ordering_key().map(|key| key.as_str().as_bytes().to_vec());
        let (payload, topic) = (message.payload().to_vec(), message.topic().to_string());
        let time = encoded.timestamp.map_or(Timestamp::NotAvailable, Timestamp::CreateTime);
        OwnedMessage::new(Some(payload), key, topic, time, 0, 0, Some(encoded.headers))
    }

    #[test]
    fn a_message_is_read_back_as_it_was() {
        let (message, envelope) = (full(), Envelope::new(EnvelopeNames::UNDERSCORE));
        let encoded = encode(&message, &envelope).unwrap();
        assert_eq!(encoded.timestamp, Some(1_700_000_000_123));
        assert!(encoded.size > message.payload().len() + 4);
        assert_eq!(decode(&received(encoded)).unwrap(), message);
    }

    #[test]
    fn raw_has_the_headers_of_the_user_alone() {
        let (message, envelope) =
            (full(), Envelope::new(EnvelopeNames::UNDERSCORE).with_mode(EnvelopeMode::Raw));
        let encoded = encode(&message, &envelope).unwrap();
        assert_eq!(encoded.headers.count(), 0);
        assert!(matches!(decode(&received(encoded)), Err(DecodeError::MissingId { header: "ce_id" })));
    }

    #[test]
    fn a_topic_that_kafka_does_not_take_is_refused_before_it_is_sent() {
        for (name, legal) in
            [("orders.placed-v1_x", true), ("orders/placed", false), ("a:b", false), ("\u{e4}", false)]
        {
            assert_eq!(is_topic(name), legal, "{name}");
        }
        assert!(!is_topic(".") && !is_topic("..") && !is_topic(""));
    }

    #[test]
    fn what_is_not_text_is_no_header_of_ours_and_no_panic() {
        let message = full();
        let mut encoded = encode(&message, &Envelope::new(EnvelopeNames::UNDERSCORE)).unwrap();
        encoded.headers = encoded
            .headers
            .insert(Header { key: "trace-bin", value: Some(&b"\xff\xfe"[..]) })
            .insert::<[u8]>(Header { key: "nothing", value: None });
        assert_eq!(decode(&received(encoded)).unwrap(), message);
        let foreign = |key: &[u8]| {
            let time = Timestamp::NotAvailable;
            OwnedMessage::new(None, Some(key.to_vec()), "t".to_owned(), time, 0, 0, None)
        };
        assert!(matches!(decode(&foreign(b"\xff")), Err(DecodeError::MalformedBody { .. })));
        assert!(matches!(decode(&foreign(b"")), Err(DecodeError::MissingId { .. })));
    }
}
