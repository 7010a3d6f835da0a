use std::borrow::Cow;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use outbox_core::{
    DecodeError, Envelope, EnvelopeMode, EnvelopeNames, Incoming, KEY_HEADER, MessageError, OrderingKey,
    OutboxMessage,
};

/// A message that is on the broker's disk before it is confirmed, in a queue that is.
const PERSISTENT: u8 = 2;

/// Headers by which RabbitMQ sends copies (sender-selected distribution); of another type than theirs, they are an error
/// for which it closes the channel.
pub(crate) const ROUTING_HEADERS: [&str; 2] = ["CC", "BCC"];

/// A message as AMQP gets it.
pub(crate) struct Record {
    pub(crate) id: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) payload: Bytes,
}

/// Why a message can't be written as an AMQP message.
#[derive(Debug)]
pub(crate) enum EncodeError {
    Message(MessageError),
    /// The name of a header, the topic, or an attribute does not fit into a short string.
    TooLong {
        what: &'static str,
    },
    /// The broker would read the header as more places to send the message to.
    Routing {
        name: &'static str,
    },
    /// All headers have to fit into one frame.
    Headers {
        bytes: usize,
        limit: usize,
    },
}

impl From<MessageError> for EncodeError {
    fn from(error: MessageError) -> Self {
        Self::Message(error)
    }
}

pub(crate) fn encode(
    message: &OutboxMessage,
    envelope: &Envelope,
    frame: usize,
) -> Result<Record, EncodeError> {
    let short = |what: &'static str, text: &str| {
        // Not the conversion, which panics.
        ShortString::try_new(text).map_err(|_| EncodeError::TooLong { what })
    };
    let mut headers = FieldTable::default();
    let mut size = 0;
    let mut put = |name: &str, value: &str| {
        size += name.len() + value.len() + 6;
        headers.insert(short("a header's name", name)?, AMQPValue::LongString(value.into()));
        Ok::<_, EncodeError>(())
    };
    envelope.write::<EncodeError>(message, |name, value| match name.as_str() {
        "content-type" => Ok(()),
        name => match ROUTING_HEADERS.into_iter().find(|routing| *routing == name) {
            Some(name) => Err(EncodeError::Routing { name }),
            None => put(name, value),
        },
    })?;
    let cloud_events = envelope.mode() == EnvelopeMode::CloudEvents;
    if cloud_events && let Some(key) = message.ordering_key().map(OrderingKey::as_str) {
        put(KEY_HEADER, key)?;
    }
    // What a frame has beside the table: the properties, which are short strings, and its own head.
    let limit = frame.saturating_sub(2_048);
    if size > limit {
        return Err(EncodeError::Headers { bytes: size, limit });
    }
    let id = short("the id", &message.id().to_string())?;
    let mut properties = BasicProperties::default()
        .with_message_id(id.clone())
        .with_content_type(short("content_type", message.content_type())?)
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    if cloud_events {
        properties = properties.with_type(short("event_type", message.event_type())?);
    }
    if let Some(time) = message.created_at().and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
        properties = properties.with_timestamp(time.as_secs());
    }
    let routing_key = short("topic", message.topic().as_str())?;
    Ok(Record { id, routing_key, properties, payload: message.payload().clone() })
}

/// Reads a message that [`AmqpTransport`](crate::AmqpTransport) has published, for a consumer with a lapin client of its
/// own.
///
/// # Errors
///
/// [`DecodeError`] if it is not one.
pub fn decode(
    topic: &str,
    properties: &BasicProperties,
    payload: impl Into<Bytes>,
) -> Result<OutboxMessage, DecodeError> {
    let mut incoming = Incoming::new(topic, payload.into());
    incoming.id = properties.message_id().as_ref().map(|id| Cow::Borrowed(id.as_str()));
    incoming.content_type = properties.content_type().as_ref().map(ShortString::as_str);
    if let Some(headers) = properties.headers() {
        let text = |(name, value): (&'_ ShortString, &AMQPValue)| {
            let value = match value {
                AMQPValue::LongString(value) => String::from_utf8(value.as_bytes().to_vec()).ok()?,
                AMQPValue::ShortString(value) => value.as_str().to_owned(),
                // Numbers and tables are those of the broker: of deaths, of delivery counts.
                _ => return None,
            };
            Some((Cow::Owned(name.as_str().to_owned()), Cow::Owned(value)))
        };
        incoming.headers = headers.inner().iter().filter_map(text).collect();
    }
    Envelope::new(EnvelopeNames::AMQP).read(incoming)
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_core::{MessageId, StoredParts};

    fn envelope() -> Envelope {
        Envelope::new(EnvelopeNames::AMQP)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let message = OutboxMessage::json("orders.placed", &["x"])
            .unwrap()
            .ordering_key("k".repeat(512))
            .event_type("e".repeat(255))
            .correlation_id("c")
            .header("long", "v".repeat(30_000))
            .header("empty", "")
            .build()
            .unwrap();
        let record = encode(&message, &envelope(), 131_072).unwrap();
        assert_eq!(*record.properties.delivery_mode(), Some(PERSISTENT));
        assert_eq!(decode("orders.placed", &record.properties, record.payload).unwrap(), message);
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_no_panic() {
        let stored = |change: fn(&mut StoredParts)| {
            let mut parts = StoredParts::new(MessageId::new(), "t", Bytes::new());
            change(&mut parts);
            encode(&OutboxMessage::stored(parts), &envelope(), 4_096)
        };
        assert!(stored(|_| ()).is_ok());
        assert!(matches!(
            stored(|parts| parts.correlation_id = Some("c".repeat(256).into())),
            Err(EncodeError::Message(_))
        ));
        let wide = |parts: &mut StoredParts| {
            parts.headers =
                outbox_core::Headers::from_json(&format!("{{\"h\":\"{}\"}}", "v".repeat(5_000))).unwrap();
        };
        assert!(matches!(stored(wide), Err(EncodeError::Headers { .. })));
        let copies = |parts: &mut StoredParts| {
            parts.headers = outbox_core::Headers::from_json("{\"BCC\":\"other\"}").unwrap();
        };
        assert!(matches!(stored(copies), Err(EncodeError::Routing { name: "BCC" })));
        let harmless = |parts: &mut StoredParts| {
            parts.headers = outbox_core::Headers::from_json("{\"cc\":\"other\"}").unwrap();
        };
        assert!(stored(harmless).is_ok());
    }
}
