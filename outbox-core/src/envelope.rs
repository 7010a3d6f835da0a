use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{
    BrokerConfigError, Headers, Limits, MessageError, MessageId, OrderingKey, OutboxMessage, StoredParts,
    UrlParameter, is_reserved_header,
};

/// What a broker's headers carry beside the user's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EnvelopeMode {
    /// CloudEvents 1.0 in binary mode: the attributes are headers, the payload is the body.
    #[default]
    CloudEvents,
    /// The user's headers and nothing else, except where the broker has a field of its own: for consumers that know
    /// nothing of CloudEvents. Event type, aggregate, correlation id and schema version do not travel.
    Raw,
}

impl FromStr for EnvelopeMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "cloudevents" => Ok(Self::CloudEvents),
            "raw" => Ok(Self::Raw),
            _ => Err(()),
        }
    }
}

/// How a binding of CloudEvents spells the names of its headers. Everything that is not CloudEvents' is spelt the same
/// for every broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the attributes of CloudEvents")]
pub struct EnvelopeNames {
    pub id: &'static str,
    pub specversion: &'static str,
    pub source: &'static str,
    pub kind: &'static str,
    pub subject: &'static str,
    pub time: &'static str,
    pub correlation_id: &'static str,
    /// Of the payload; not an attribute with a prefix in any binding.
    pub content_type: &'static str,
}

impl EnvelopeNames {
    /// `ce-id`, as in HTTP and NATS.
    pub const HYPHEN: Self = Self {
        id: "ce-id",
        specversion: "ce-specversion",
        source: "ce-source",
        kind: "ce-type",
        subject: "ce-subject",
        time: "ce-time",
        correlation_id: "ce-correlationid",
        content_type: "content-type",
    };

    /// `ce_id`, as in Kafka.
    pub const UNDERSCORE: Self = Self {
        id: "ce_id",
        specversion: "ce_specversion",
        source: "ce_source",
        kind: "ce_type",
        subject: "ce_subject",
        time: "ce_time",
        correlation_id: "ce_correlationid",
        content_type: "content-type",
    };

    /// `cloudEvents_id`, as in AMQP.
    pub const AMQP: Self = Self {
        id: "cloudEvents_id",
        specversion: "cloudEvents_specversion",
        source: "cloudEvents_source",
        kind: "cloudEvents_type",
        subject: "cloudEvents_subject",
        time: "cloudEvents_time",
        correlation_id: "cloudEvents_correlationid",
        content_type: "content-type",
    };
}

/// The ordering key, where the broker has no field for it.
pub const KEY_HEADER: &str = "outbox-key";
/// The type of the thing that the message is about; CloudEvents has only its id (`subject`).
pub const AGGREGATE_TYPE_HEADER: &str = "outbox-aggregate-type";
/// The version of the payload's schema.
pub const SCHEMA_VERSION_HEADER: &str = "outbox-schema-version";
/// In a dead letter: why it is one.
pub const DEAD_REASON_HEADER: &str = "outbox-dead-reason";
/// In a dead letter: the group that gave it up.
pub const DEAD_GROUP_HEADER: &str = "outbox-dead-group";
/// In a dead letter: the topic that it was sent to.
pub const DEAD_TOPIC_HEADER: &str = "outbox-dead-topic";

/// A reason as it stands in [`DEAD_REASON_HEADER`]: at most 1,000 bytes, without the characters that end a line.
#[must_use]
pub fn dead_reason(reason: &str) -> String {
    let mut text: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.truncate(text.floor_char_boundary(1_000));
    text.truncate(text.trim_end().len());
    text
}

/// The name of a header that [`Envelope::write`] hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderName<'a> {
    /// One of the fixed names of [`EnvelopeNames`] and of this module, so that a client can keep it without a copy.
    Fixed(&'static str),
    /// The user's.
    User(&'a str),
}

impl<'a> HeaderName<'a> {
    /// The name.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        match self {
            Self::Fixed(name) => name,
            Self::User(name) => name,
        }
    }
}

/// Turns a message into headers and headers into a message. What is written is read back exactly, in mode
/// [`EnvelopeMode::CloudEvents`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    names: EnvelopeNames,
    mode: EnvelopeMode,
    source: Box<str>,
}

impl Envelope {
    /// The names of the parameters that [`Envelope::set`] takes.
    pub const PARAMETERS: [&'static str; 2] = ["source", "envelope"];

    /// CloudEvents whose source is `outbox`.
    #[must_use]
    pub fn new(names: EnvelopeNames) -> Self {
        Self { names, mode: EnvelopeMode::default(), source: "outbox".into() }
    }

    /// What the headers carry.
    #[must_use]
    pub fn with_mode(mut self, mode: EnvelopeMode) -> Self {
        self.mode = mode;
        self
    }

    /// The CloudEvents `source`: a URI reference that names the service. [`Envelope::check`] checks it.
    #[must_use]
    pub fn with_source(mut self, uri: impl Into<Box<str>>) -> Self {
        self.source = uri.into();
        self
    }

    /// What the headers carry.
    #[must_use]
    pub const fn mode(&self) -> EnvelopeMode {
        self.mode
    }

    /// The CloudEvents `source`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The spelling of the names.
    #[must_use]
    pub const fn names(&self) -> &EnvelopeNames {
        &self.names
    }

    /// Takes a parameter of a URL that belongs here (`source`, `envelope`); `false` if it does not.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::InvalidValue`].
    pub fn set(&mut self, parameter: &UrlParameter<'_>) -> Result<bool, BrokerConfigError> {
        match parameter.name() {
            "source" => self.source = parameter.text().into(),
            "envelope" => {
                let mode = parameter.text().parse();
                self.mode = mode.map_err(|()| parameter.invalid("cloudevents or raw"))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Checks the source.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::InvalidValue`] if it is empty, longer than 255 bytes or no URI reference.
    pub fn check(&self, broker: &'static str) -> Result<(), BrokerConfigError> {
        let fits = (1..=Limits::ATTRIBUTE).contains(&self.source.len());
        if fits && self.source.chars().all(|c| c.is_ascii_graphic()) {
            return Ok(());
        }
        Err(BrokerConfigError::InvalidValue {
            broker,
            parameter: "source".into(),
            expected: "a URI reference of 1 to 255 bytes, for example /shop/orders".into(),
        })
    }

    /// Hands out the headers of a message: fixed ones first, then the user's, sorted by name. The ordering key is not
    /// among them: see [`KEY_HEADER`].
    ///
    /// # Errors
    ///
    /// [`MessageError`] if the row has characters that would end a line, or a name that is reserved: what a writer in
    /// another language stored was never checked. Sizes are the broker's business, and are not looked at. Otherwise
    /// what `put` returns.
    pub fn write<E: From<MessageError>>(
        &self,
        message: &OutboxMessage,
        mut put: impl FnMut(HeaderName<'_>, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        message.check(&Limits::without_sizes())?;
        if self.mode == EnvelopeMode::CloudEvents {
            let mut put = |name, value: &str| put(HeaderName::Fixed(name), value);
            let names = &self.names;
            let mut buffer = uuid::Uuid::encode_buffer();
            put(names.id, message.id().as_uuid().hyphenated().encode_lower(&mut buffer))?;
            put(names.specversion, "1.0")?;
            put(names.source, &self.source)?;
            put(names.kind, message.event_type())?;
            put(names.content_type, message.content_type())?;
            let mut text = String::new();
            match message.schema_version() {
                // Most have no other, and need not be formatted.
                1 => put(SCHEMA_VERSION_HEADER, "1")?,
                version => {
                    // Writing to a string can't fail.
                    let _ = write!(text, "{version}");
                    put(SCHEMA_VERSION_HEADER, &text)?;
                }
            }
            if let Some(id) = message.aggregate_id() {
                put(names.subject, id)?;
            }
            if let Some(kind) = message.aggregate_type() {
                put(AGGREGATE_TYPE_HEADER, kind)?;
            }
            if let Some(id) = message.correlation_id() {
                put(names.correlation_id, id)?;
            }
            if let Some(time) = message.created_at() {
                text.clear();
                if rfc3339(&mut text, time) {
                    put(names.time, &text)?;
                }
            }
        }
        for (name, value) in message.headers().iter() {
            put(HeaderName::User(name), value)?;
        }
        Ok(())
    }

    /// Reads a message back. `available_at` and `max_attempts` are matters of the relay and don't travel.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it has no id, or a field breaks a limit.
    pub fn read(&self, incoming: Incoming<'_>) -> Result<OutboxMessage, DecodeError> {
        let names = &self.names;
        let Incoming { topic, payload, id, ordering_key, content_type, headers } = incoming;
        let mut parts = StoredParts::new(MessageId::from_uuid(uuid::Uuid::nil()), topic, payload);
        let mut found = id;
        parts.ordering_key = ordering_key.map(OrderingKey::stored);
        parts.content_type = match content_type {
            Some(content_type) => content_type.into(),
            None => parts.content_type,
        };
        let mut user = BTreeMap::new();
        for (name, value) in headers {
            let text = || Some(Box::from(&*value));
            match &*name {
                name if name == names.id => found = found.or(Some(Cow::Owned(value.into_owned()))),
                name if name == names.kind => {
                    parts.event_type = Some(&*value).filter(|kind| *kind != topic).map(Into::into)
                }
                name if name == names.subject => parts.aggregate_id = text(),
                name if name == names.correlation_id => parts.correlation_id = text(),
                name if name == names.time => parts.created_at = humantime::parse_rfc3339(&value).ok(),
                name if name == names.content_type => parts.content_type = value.into(),
                KEY_HEADER => parts.ordering_key = parts.ordering_key.or(Some(OrderingKey::stored(&value))),
                AGGREGATE_TYPE_HEADER => parts.aggregate_type = text(),
                SCHEMA_VERSION_HEADER => {
                    let version = value.parse().map_err(|_| MALFORMED_VERSION)?;
                    parts.schema_version = version;
                }
                name if is_reserved_header(name) => {}
                _ => drop(user.insert(Box::from(&*name), Box::from(&*value))),
            }
        }
        let id = found.ok_or(DecodeError::MissingId { header: names.id })?;
        parts.id = MessageId::from_str(&id)?;
        parts.headers = Headers::stored(user);
        let message = OutboxMessage::stored(parts);
        message.check(&Limits::without_sizes())?;
        Ok(message)
    }
}

const MALFORMED_VERSION: DecodeError = DecodeError::MalformedHeader { header: SCHEMA_VERSION_HEADER };

/// What a broker delivered, as text.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The payload.
    pub payload: Bytes,
    /// The message id, where the broker has a field for it; otherwise it is the header `id` of the envelope.
    pub id: Option<Cow<'a, str>>,
    /// The ordering key, where the broker has a field for it; otherwise it is [`KEY_HEADER`].
    pub ordering_key: Option<&'a str>,
    /// The content type, where the broker has a field for it; otherwise it is a header.
    pub content_type: Option<&'a str>,
    /// All headers. Those that are reserved and unknown are left out of the message.
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Incoming<'a> {
    /// A delivery without any field of the broker's own.
    #[must_use]
    pub const fn new(topic: &'a str, payload: Bytes) -> Self {
        Self { topic, payload, id: None, ordering_key: None, content_type: None, headers: Vec::new() }
    }
}

/// Why something that a broker delivered is not a message of an outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing identifies it.
    #[error("the message has no id (header {header}); it was not published by an outbox")]
    MissingId {
        /// Where the id was looked for last.
        header: &'static str,
    },
    /// A header has a value that the outbox does not write.
    #[error("the header {header} has a value that the outbox does not write")]
    MalformedHeader {
        /// The header.
        header: &'static str,
    },
    /// The body is not what the envelope says.
    #[error("the body is not an envelope: {problem}")]
    MalformedBody {
        /// What is wrong.
        problem: String,
    },
    /// A field breaks a limit of the outbox.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// `false` outside the years 1970 to 9999, which the format can't write.
fn rfc3339(text: &mut String, time: SystemTime) -> bool {
    time.duration_since(UNIX_EPOCH).is_ok()
        && write!(text, "{}", humantime::format_rfc3339_nanos(time)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn round_trip(envelope: &Envelope, message: &OutboxMessage) -> Result<OutboxMessage, DecodeError> {
        let mut headers = Vec::new();
        envelope
            .write::<MessageError>(message, |name, value| {
                headers.push((Cow::Owned(name.as_str().to_owned()), Cow::Owned(value.to_owned())));
                Ok(())
            })
            .unwrap();
        let mut incoming = Incoming::new(message.topic().as_str(), message.payload().clone());
        incoming.ordering_key = message.ordering_key().map(OrderingKey::as_str);
        incoming.headers = headers;
        envelope.read(incoming)
    }

    fn stored(change: impl FnOnce(&mut StoredParts)) -> OutboxMessage {
        let mut parts = StoredParts::new(MessageId::new(), "orders.placed", Bytes::from_static(b"x"));
        change(&mut parts);
        OutboxMessage::stored(parts)
    }

    fn full() -> OutboxMessage {
        stored(|parts| {
            parts.ordering_key = Some(OrderingKey::stored("🦀"));
            parts.event_type = Some("OrderPlaced".into());
            parts.schema_version = 7;
            parts.aggregate_type = Some("order".into());
            parts.aggregate_id = Some("4711".into());
            parts.correlation_id = Some("c-1".into());
            parts.content_type = "application/json".into();
            parts.headers = Headers::from_json("{\"tenant\":\"acme: 1\",\"Empty\":\"\"}").unwrap();
            parts.created_at = Some(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_000));
        })
    }

    #[test]
    fn what_is_written_is_read_back_in_every_spelling() {
        for names in [EnvelopeNames::HYPHEN, EnvelopeNames::UNDERSCORE, EnvelopeNames::AMQP] {
            for message in [stored(|_| ()), full()] {
                assert_eq!(round_trip(&Envelope::new(names), &message).unwrap(), message);
            }
        }
    }

    #[test]
    fn raw_is_the_users_headers_and_nothing_else() {
        let raw = Envelope::new(EnvelopeNames::HYPHEN).with_mode(EnvelopeMode::Raw);
        let mut names = Vec::new();
        raw.write::<MessageError>(&full(), |name, _| {
            names.push(name.as_str().to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(names, ["Empty", "tenant"]);
        assert!(matches!(round_trip(&raw, &full()), Err(DecodeError::MissingId { header: "ce-id" })));
    }

    #[test]
    fn what_could_inject_is_not_written() {
        let envelope = Envelope::new(EnvelopeNames::HYPHEN);
        for change in [
            (|parts| parts.event_type = Some("a\r\nb".into())) as fn(&mut StoredParts),
            |parts| parts.headers = Headers::from_json("{\"a\":\"\\n\"}").unwrap(),
            |parts| parts.headers = Headers::from_json("{\"CE-Type\":\"forged\"}").unwrap(),
            |parts| parts.headers = Headers::from_json("{\"cloudEvents_id\":\"forged\"}").unwrap(),
        ] {
            let written = envelope.write::<MessageError>(&stored(change), |_, _| Ok(()));
            assert!(written.is_err());
        }
    }

    #[test]
    fn a_foreign_message_says_what_it_lacks() {
        let envelope = Envelope::new(EnvelopeNames::UNDERSCORE);
        let error = envelope.read(Incoming::new("t", Bytes::new())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the message has no id (header ce_id); it was not published by an outbox"
        );
        let mut incoming = Incoming::new("t", Bytes::new());
        incoming.headers = vec![("ce_id".into(), "7".into())];
        assert!(matches!(envelope.read(incoming), Err(DecodeError::Message(_))));
        let mut incoming = Incoming::new("t", Bytes::new());
        incoming.id = Some(MessageId::new().to_string().into());
        incoming.headers = vec![(SCHEMA_VERSION_HEADER.into(), "x".into())];
        assert!(matches!(envelope.read(incoming), Err(DecodeError::MalformedHeader { .. })));
    }

    #[test]
    fn a_reason_fits_into_a_header() {
        assert_eq!(dead_reason("no such\r\ncustomer\0"), "no such  customer");
        assert_eq!(dead_reason(&"🦀".repeat(300)).len(), 1_000);
        assert_eq!(dead_reason(&format!("x{}", "🦀".repeat(300))).len(), 997);
    }

    #[test]
    fn a_source_is_a_uri() {
        for (source, good) in [("outbox", true), ("/shop", true), ("", false), ("a b", false), ("ä", false)]
        {
            let envelope = Envelope::new(EnvelopeNames::HYPHEN).with_source(source);
            assert_eq!(envelope.check("Test").is_ok(), good, "{source:?}");
        }
    }
}
