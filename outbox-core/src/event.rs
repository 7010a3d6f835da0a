use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{BoxError, MessageBuilder, MessageError, OutboxMessage};

/// A type whose values are published: where to, by which key, and how they are written.
///
/// ```
/// use outbox_core::{Event, Json, OutboxMessage};
///
/// #[derive(serde::Serialize)]
/// struct OrderPlaced {
///     order: String,
///     total: i64,
/// }
///
/// impl Event for OrderPlaced {
///     const TOPIC: &'static str = "orders.placed";
///     type Codec = Json;
///
///     fn ordering_key(&self) -> Option<std::borrow::Cow<'_, str>> {
///         Some(self.order.as_str().into())
///     }
/// }
///
/// # fn main() -> Result<(), outbox_core::MessageError> {
/// let message = OutboxMessage::event(&OrderPlaced { order: "7".to_owned(), total: 1290 })?;
/// assert_eq!(message.topic().as_str(), "orders.placed");
/// assert_eq!(message.payload().as_ref(), br#"{"order":"7","total":1290}"#);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no event",
    note = "implement `Event` for it: its `TOPIC`, its `Codec` (`Json` for what serde can serialize), and its `ordering_key` \
            if its order matters"
)]
pub trait Event {
    /// The topic it is published to.
    const TOPIC: &'static str;

    /// The type that consumers see; the topic if it is not set.
    const TYPE: Option<&'static str> = None;

    /// The version of its schema, from 1.
    const SCHEMA_VERSION: i32 = 1;

    /// How the payload is written.
    type Codec: EventCodec<Self>;

    /// Events with the same key are delivered in their order. By default there is none, and no order.
    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Sets whatever else a message can have: headers, a correlation, a delay.
    fn describe(&self, message: MessageBuilder) -> MessageBuilder {
        message
    }
}

/// Writes the payload of events. [`Json`] is one; others are a few lines:
///
/// ```
/// use outbox_core::{BoxError, EventCodec, bytes::Bytes};
///
/// struct Text;
///
/// impl<E: std::fmt::Display + ?Sized> EventCodec<E> for Text {
///     const CONTENT_TYPE: &'static str = "text/plain";
///
///     fn encode(event: &E) -> Result<Bytes, BoxError> {
///         Ok(event.to_string().into())
///     }
/// }
/// ```
pub trait EventCodec<E: ?Sized> {
    /// The content type of the payload.
    const CONTENT_TYPE: &'static str;

    /// The payload.
    ///
    /// # Errors
    ///
    /// Whatever the format refuses. Nothing is written to the outbox then.
    fn encode(event: &E) -> Result<Bytes, BoxError>;
}

/// JSON by serde.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl<E: Serialize + ?Sized> EventCodec<E> for Json {
    const CONTENT_TYPE: &'static str = "application/json";

    fn encode(event: &E) -> Result<Bytes, BoxError> {
        Ok(serde_json::to_vec(event)?.into())
    }
}

/// Reads the payload of events: the other half of an [`EventCodec`].
pub trait EventDecoder<E> {
    /// The event.
    ///
    /// # Errors
    ///
    /// Whatever the format refuses.
    fn decode(payload: &Bytes) -> Result<E, BoxError>;
}

impl<E: DeserializeOwned> EventDecoder<E> for Json {
    fn decode(payload: &Bytes) -> Result<E, BoxError> {
        Ok(serde_json::from_slice(payload)?)
    }
}

/// Why a message can't be read as an event. Another attempt reads the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It is another event.
    #[error("the message is a {found:?}, not a {expected:?}")]
    OtherType {
        /// The type that was asked for.
        expected: String,
        /// The type of the message.
        found: String,
    },
    /// Its schema is newer than what this code knows.
    #[error("the message has schema version {found} of {event_type:?}, this code knows {known}")]
    NewerVersion {
        /// The type.
        event_type: String,
        /// The version of the message.
        found: i32,
        /// The version of the code.
        known: i32,
    },
    /// The payload has more bytes than the reader allows.
    #[error("the payload has {actual} bytes, at most {limit} are read")]
    TooLarge {
        /// Bytes found.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The payload is not what its codec writes.
    #[error("the payload of {event_type:?} can't be decoded: {error}")]
    Payload {
        /// The type.
        event_type: String,
        /// What the codec says.
        #[source]
        error: BoxError,
    },
}

impl OutboxMessage {
    /// Whether it is one of these events, by its type.
    #[must_use]
    pub fn is<E: Event>(&self) -> bool {
        self.event_type() == E::TYPE.unwrap_or(E::TOPIC)
    }

    /// The event that it is. An older schema version is the codec's to understand.
    ///
    /// # Errors
    ///
    /// [`EventError`] if it is another event, of a newer schema, or can't be decoded.
    pub fn decode<E>(&self) -> Result<E, EventError>
    where
        E: Event<Codec: EventDecoder<E>>,
    {
        let event_type = || self.event_type().to_owned();
        if !self.is::<E>() {
            let expected = E::TYPE.unwrap_or(E::TOPIC).to_owned();
            return Err(EventError::OtherType { expected, found: event_type() });
        }
        if self.schema_version() > E::SCHEMA_VERSION {
            let (found, known) = (self.schema_version(), E::SCHEMA_VERSION);
            return Err(EventError::NewerVersion { event_type: event_type(), found, known });
        }
        E::Codec::decode(self.payload())
            .map_err(|error| EventError::Payload { event_type: event_type(), error })
    }

    /// The message of an event.
    ///
    /// # Errors
    ///
    /// [`MessageError`] if the payload can't be encoded, or something of it is out of its limits.
    pub fn event<E: Event + ?Sized>(event: &E) -> Result<Self, MessageError> {
        let payload = E::Codec::encode(event).map_err(MessageError::Encode)?;
        let mut message = Self::bytes(E::TOPIC, payload)?
            .content_type(<E::Codec as EventCodec<E>>::CONTENT_TYPE)
            .schema_version(E::SCHEMA_VERSION);
        if let Some(name) = E::TYPE {
            message = message.event_type(name);
        }
        if let Some(key) = event.ordering_key() {
            message = message.ordering_key(key);
        }
        event.describe(message).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Renamed {
        key: String,
    }

    impl Event for Renamed {
        const TOPIC: &'static str = "things.renamed";
        const TYPE: Option<&'static str> = Some("Renamed");
        const SCHEMA_VERSION: i32 = 3;
        type Codec = Json;

        fn ordering_key(&self) -> Option<Cow<'_, str>> {
            Some(self.key.as_str().into())
        }

        fn describe(&self, message: MessageBuilder) -> MessageBuilder {
            message.header("tenant", "acme")
        }
    }

    #[test]
    fn an_event_describes_its_message() {
        let message = OutboxMessage::event(&Renamed { key: "k".to_owned() }).unwrap();
        assert_eq!(message.topic().as_str(), "things.renamed");
        assert_eq!(message.event_type(), "Renamed");
        assert_eq!(message.schema_version(), 3);
        assert_eq!(message.content_type(), "application/json");
        assert_eq!(message.ordering_key().unwrap().as_str(), "k");
        assert_eq!(message.headers().get("tenant"), Some("acme"));
        assert_eq!(message.payload().as_ref(), br#"{"key":"k"}"#);
    }

    #[test]
    fn what_is_out_of_its_limits_is_refused() {
        let error = OutboxMessage::event(&Renamed { key: "k".repeat(10_000) }).unwrap_err();
        assert!(error.to_string().starts_with("ordering_key has 10000 bytes"), "{error}");
    }

    #[test]
    fn an_event_is_read_back() {
        let message = OutboxMessage::event(&Renamed { key: "k".to_owned() }).unwrap();
        assert!(message.is::<Renamed>());
        assert_eq!(message.decode::<Renamed>().unwrap(), Renamed { key: "k".to_owned() });
    }

    #[test]
    fn what_is_no_such_event_is_refused() {
        let text = |message: crate::MessageBuilder| {
            message.build().unwrap().decode::<Renamed>().unwrap_err().to_string()
        };
        let payload = |payload: &'static str| OutboxMessage::bytes("things.renamed", payload).unwrap();
        assert_eq!(text(payload("{}")), r#"the message is a "things.renamed", not a "Renamed""#);
        assert_eq!(
            text(payload("{}").event_type("Renamed").schema_version(4)),
            r#"the message has schema version 4 of "Renamed", this code knows 3"#
        );
        let broken = text(payload("{").event_type("Renamed"));
        assert!(broken.starts_with(r#"the payload of "Renamed" can't be decoded: EOF"#), "{broken}");
    }

    struct Broken;

    impl Event for Broken {
        const TOPIC: &'static str = "broken";
        type Codec = Json;
    }

    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no words for it"))
        }
    }

    #[test]
    fn what_can_not_be_encoded_is_an_error() {
        let error = OutboxMessage::event(&Broken).unwrap_err();
        assert!(matches!(error, MessageError::Encode(_)), "{error}");
        assert!(error.to_string().contains("no words for it"), "{error}");
    }
}
