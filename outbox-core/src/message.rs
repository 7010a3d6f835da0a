use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::message_error::check_text;
use crate::{Headers, Limits, MessageError, MessageId, OrderingKey, Topic};

/// One message, as it is written to the outbox, delivered by the relay and received by a consumer.
///
/// Built by [`OutboxMessage::json`] or [`OutboxMessage::bytes`], which check every limit. The payload is opaque
/// [`Bytes`]: no type parameter, so any transport carries any message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMessage {
    // In a box: on its way through a relay a message is moved a dozen times, and its fields are 232 bytes.
    parts: Box<StoredParts>,
}

/// The fields of a message, as they stand in a row. Adapters fill it; everyone else uses the builder.
///
/// Not `non_exhaustive`: a store that forgets a column must not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented at the accessors of OutboxMessage")]
pub struct StoredParts {
    pub id: MessageId,
    pub topic: Topic,
    pub ordering_key: Option<OrderingKey>,
    pub event_type: Option<Box<str>>,
    pub schema_version: i32,
    pub aggregate_type: Option<Box<str>>,
    pub aggregate_id: Option<Box<str>>,
    pub correlation_id: Option<Box<str>>,
    pub content_type: Box<str>,
    pub headers: Headers,
    pub payload: Bytes,
    pub created_at: Option<SystemTime>,
    pub available_at: Option<SystemTime>,
    pub max_attempts: Option<u16>,
}

impl StoredParts {
    /// The parts that have no default; the others as an `INSERT` of just these columns would leave them.
    #[must_use]
    pub fn new(id: MessageId, topic: &str, payload: Bytes) -> Self {
        Self {
            id,
            topic: Topic::stored(topic),
            ordering_key: None,
            event_type: None,
            schema_version: 1,
            aggregate_type: None,
            aggregate_id: None,
            correlation_id: None,
            content_type: OutboxMessage::DEFAULT_CONTENT_TYPE.into(),
            headers: Headers::new(),
            payload,
            created_at: None,
            available_at: None,
            max_attempts: None,
        }
    }
}

impl OutboxMessage {
    /// The content type of a row whose writer named none.
    pub const DEFAULT_CONTENT_TYPE: &'static str = "application/octet-stream";

    /// Starts a message with a JSON payload and content type `application/json`.
    ///
    /// # Errors
    ///
    /// [`MessageError`] if the topic is not a topic, or the payload can't be serialized.
    pub fn json<T: serde::Serialize + ?Sized>(
        topic: impl AsRef<str>,
        payload: &T,
    ) -> Result<MessageBuilder, MessageError> {
        let payload = serde_json::to_vec(payload).map_err(MessageError::Serialize)?;
        Ok(Self::bytes(topic, payload)?.content_type("application/json"))
    }

    /// Starts a message with a raw payload.
    ///
    /// # Errors
    ///
    /// [`MessageError`] if the topic is not a topic.
    pub fn bytes(topic: impl AsRef<str>, payload: impl Into<Bytes>) -> Result<MessageBuilder, MessageError> {
        let topic = Topic::new(topic)?;
        let mut parts = StoredParts::new(MessageId::new(), "", payload.into());
        parts.topic = topic;
        Ok(MessageBuilder { parts, ordering_key: None, delay: None, headers: Vec::new() })
    }

    /// A message that was read from a table, unchecked. Use [`OutboxMessage::check`] before it is published: a writer
    /// in another language may have stored anything that the table's `CHECK`s let through.
    #[must_use]
    pub fn stored(parts: StoredParts) -> Self {
        Self { parts: Box::new(parts) }
    }

    /// The fields, for an adapter that moves them on.
    #[must_use]
    pub fn into_parts(self) -> StoredParts {
        *self.parts
    }

    /// Checks every limit.
    ///
    /// # Errors
    ///
    /// The first [`MessageError`] found.
    pub fn check(&self, limits: &Limits) -> Result<(), MessageError> {
        let parts = &self.parts;
        Topic::check(parts.topic.as_str())?;
        if let Some(key) = &parts.ordering_key {
            check_text("ordering_key", key.as_str(), Limits::ORDERING_KEY)?;
        }
        let attributes = [
            ("event_type", &parts.event_type),
            ("aggregate_type", &parts.aggregate_type),
            ("aggregate_id", &parts.aggregate_id),
            ("correlation_id", &parts.correlation_id),
        ];
        for (field, value) in attributes {
            if let Some(value) = value {
                check_text(field, value, Limits::ATTRIBUTE)?;
            }
        }
        check_text("content_type", &parts.content_type, Limits::ATTRIBUTE)?;
        if parts.schema_version < 1 {
            let actual = i64::from(parts.schema_version);
            return Err(MessageError::OutOfRange {
                field: "schema_version".into(),
                actual,
                min: 1,
                max: i32::MAX.into(),
            });
        }
        if let Some(actual @ (0 | 1001..)) = parts.max_attempts {
            let actual = i64::from(actual);
            return Err(MessageError::OutOfRange { field: "max_attempts".into(), actual, min: 1, max: 1000 });
        }
        if parts.payload.len() > limits.payload {
            let (actual, limit) = (parts.payload.len(), limits.payload);
            return Err(MessageError::TooLong { field: "payload".into(), actual, limit });
        }
        parts.headers.check(limits)?;
        let (payload, headers, limit) = (parts.payload.len(), parts.headers.size(), limits.together());
        let mut actual = payload + headers;
        // A text is at most six times as long in JSON; most messages are too small for that to matter.
        let most = payload + 7 * headers + 6 * parts.headers.len() + 16_384;
        if limit != usize::MAX && most > limit {
            actual += self.padded();
        }
        if actual > limit {
            return Err(MessageError::TooLong { field: "payload with headers".into(), actual, limit });
        }
        Ok(())
    }

    /// What the texts need that have white space around them, as a JSON object: clients of NATS trim what they read, so
    /// such texts are sent a second time.
    fn padded(&self) -> usize {
        let parts = &self.parts;
        let attributes =
            [&parts.event_type, &parts.aggregate_type, &parts.aggregate_id, &parts.correlation_id];
        let attributes = attributes.into_iter().flatten().map(|text| &**text);
        let own = attributes
            .chain(parts.ordering_key.as_ref().map(OrderingKey::as_str))
            .chain([&*parts.content_type]);
        // The longest name of a field on its way is "outbox-aggregate-type".
        let own = own.map(|text| (21, text));
        let all = own.chain(parts.headers.iter().map(|(name, text)| (name.len(), text)));
        let padded = all.filter(|(_, text)| text.trim().len() != text.len());
        // Each with two pairs of quotes, a colon and a comma.
        padded.map(|(name, text)| name + 6 + json_length(text)).sum()
    }

    /// The identity of the message: the row's id, the broker's message id, the inbox key.
    #[must_use]
    pub fn id(&self) -> &MessageId {
        &self.parts.id
    }

    /// Where it goes.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.parts.topic
    }

    /// What it is ordered by; `None` for a message without order.
    #[must_use]
    pub fn ordering_key(&self) -> Option<&OrderingKey> {
        self.parts.ordering_key.as_ref()
    }

    /// What happened, for example `OrderPlaced`; the topic where the writer named none.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.parts.event_type.as_deref().unwrap_or(self.parts.topic.as_str())
    }

    /// The version of the payload's schema, from 1.
    #[must_use]
    pub fn schema_version(&self) -> i32 {
        self.parts.schema_version
    }

    /// The type of the thing it is about, for example `order`.
    #[must_use]
    pub fn aggregate_type(&self) -> Option<&str> {
        self.parts.aggregate_type.as_deref()
    }

    /// The id of the thing it is about.
    #[must_use]
    pub fn aggregate_id(&self) -> Option<&str> {
        self.parts.aggregate_id.as_deref()
    }

    /// What ties the messages of one business operation together.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.parts.correlation_id.as_deref()
    }

    /// The media type of the payload.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.parts.content_type
    }

    /// The user's headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.parts.headers
    }

    /// The payload. Cloning it is a reference count.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.parts.payload
    }

    /// When the row was written, by the database's clock; `None` before that. Never order by it.
    #[must_use]
    pub fn created_at(&self) -> Option<SystemTime> {
        self.parts.created_at
    }

    /// The earliest time of delivery; `None` for at once.
    #[must_use]
    pub fn available_at(&self) -> Option<SystemTime> {
        self.parts.available_at
    }

    /// After how many tries this message is dead, where it differs from the relay's policy.
    #[must_use]
    pub fn max_attempts(&self) -> Option<u16> {
        self.parts.max_attempts
    }

    /// Bytes of payload, headers, key and topic: what the relay counts against its budget of memory.
    #[must_use]
    pub fn size(&self) -> usize {
        let parts = &self.parts;
        let key = parts.ordering_key.as_ref().map_or(0, |key| key.as_str().len());
        parts.payload.len() + parts.headers.size() + key + parts.topic.as_str().len()
    }
}

/// Bytes of a text in JSON, without its quotes.
fn json_length(text: &str) -> usize {
    let escaped = |byte| match byte {
        b'"' | b'\\' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// Where an id is asked for, a message will do.
impl AsRef<MessageId> for OutboxMessage {
    fn as_ref(&self) -> &MessageId {
        self.id()
    }
}

/// The end of the year 9999, the latest that every database can hold.
const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

/// Collects the fields of a message; [`MessageBuilder::build`] checks them all at once.
#[derive(Debug, Clone)]
#[must_use = "a message is made by `build`"]
pub struct MessageBuilder {
    parts: StoredParts,
    ordering_key: Option<String>,
    delay: Option<Duration>,
    headers: Vec<(String, String)>,
}

impl MessageBuilder {
    /// The id, where it is not to be a fresh UUIDv7.
    pub fn id(mut self, id: impl Into<MessageId>) -> Self {
        self.parts.id = id.into();
        self
    }

    /// Messages with the same key are delivered in the order of their rows.
    pub fn ordering_key(mut self, key: impl ToString) -> Self {
        self.ordering_key = Some(key.to_string());
        self
    }

    /// What happened, for example `OrderPlaced`; the topic by default.
    pub fn event_type(mut self, name: impl Into<Box<str>>) -> Self {
        self.parts.event_type = Some(name.into());
        self
    }

    /// The version of the payload's schema; 1 by default.
    pub fn schema_version(mut self, version: i32) -> Self {
        self.parts.schema_version = version;
        self
    }

    /// What the message is about, for example `("order", order.id)`.
    pub fn aggregate(mut self, kind: impl Into<Box<str>>, id: impl ToString) -> Self {
        self.parts.aggregate_type = Some(kind.into());
        self.parts.aggregate_id = Some(id.to_string().into());
        self
    }

    /// What ties the messages of one business operation together.
    pub fn correlation_id(mut self, id: impl ToString) -> Self {
        self.parts.correlation_id = Some(id.to_string().into());
        self
    }

    /// The media type of the payload.
    pub fn content_type(mut self, media_type: impl Into<Box<str>>) -> Self {
        self.parts.content_type = media_type.into();
        self
    }

    /// Adds a text header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Not to be delivered before this time. It takes its place in its key's order when it falls due.
    pub fn available_at(mut self, time: SystemTime) -> Self {
        self.parts.available_at = Some(time);
        self
    }

    /// Not to be delivered before this much time has passed from [`MessageBuilder::build`], by this machine's clock.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// After how many tries this message is dead, from 1 to 1000, where it differs from the relay's policy.
    pub fn max_attempts(mut self, tries: u16) -> Self {
        self.parts.max_attempts = Some(tries);
        self
    }

    /// Checks every field against the default [`Limits`].
    ///
    /// # Errors
    ///
    /// The first [`MessageError`] found; it names the field and the limit.
    pub fn build(self) -> Result<OutboxMessage, MessageError> {
        self.build_within(&Limits::default())
    }

    /// Checks every field against these limits.
    ///
    /// # Errors
    ///
    /// The first [`MessageError`] found; it names the field and the limit.
    pub fn build_within(mut self, limits: &Limits) -> Result<OutboxMessage, MessageError> {
        if let Some(key) = &self.ordering_key {
            self.parts.ordering_key = Some(OrderingKey::new(key)?);
        }
        for (name, value) in &self.headers {
            self.parts.headers.insert(name, value)?;
        }
        if let Some(delay) = self.delay {
            // What no clock can tell is as late as a table can say, and not at once.
            let due = SystemTime::now().checked_add(delay).or_else(|| UNIX_EPOCH.checked_add(YEAR_9999));
            self.parts.available_at = due;
        }
        let message = OutboxMessage::stored(self.parts);
        message.check(limits)?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> MessageBuilder {
        OutboxMessage::bytes("orders.placed", "x").unwrap()
    }

    #[test]
    fn a_message_carries_what_it_was_given() {
        let id = MessageId::new();
        let message = OutboxMessage::json("orders.placed", &[1, 2])
            .unwrap()
            .id(id)
            .ordering_key(7)
            .event_type("OrderPlaced")
            .schema_version(3)
            .aggregate("order", 7)
            .correlation_id("c-1")
            .header("tenant", "acme")
            .max_attempts(2)
            .build()
            .unwrap();
        assert_eq!(message.id(), &id);
        assert_eq!(message.ordering_key().unwrap().as_str(), "7");
        assert_eq!(message.event_type(), "OrderPlaced");
        assert_eq!(message.schema_version(), 3);
        assert_eq!((message.aggregate_type(), message.aggregate_id()), (Some("order"), Some("7")));
        assert_eq!(message.correlation_id(), Some("c-1"));
        assert_eq!(message.content_type(), "application/json");
        assert_eq!(message.headers().get("tenant"), Some("acme"));
        assert_eq!(&message.payload()[..], b"[1,2]");
        assert_eq!(message.max_attempts(), Some(2));
        assert_eq!(builder().build().unwrap().event_type(), "orders.placed");
    }

    #[test]
    fn a_payload_over_the_limit_names_field_and_limit() {
        assert!(OutboxMessage::bytes("t", vec![0; 1_000_000]).unwrap().build().is_ok());
        let error = OutboxMessage::bytes("t", vec![0; 1_000_001]).unwrap().build().unwrap_err();
        assert_eq!(error.to_string(), "payload has 1000001 bytes, at most 1000000 are allowed");
        assert_eq!(error.field(), "payload");
    }

    #[test]
    fn headers_have_a_limit_in_count_and_in_bytes() {
        let many = (0..65).fold(builder(), |b, i| b.header(format!("h{i}"), ""));
        assert!(matches!(many.build(), Err(MessageError::TooManyHeaders { actual: 65, limit: 64 })));
        let large = builder().header("a", "x".repeat(40_000)).header("b", "x".repeat(40_000));
        assert!(matches!(large.build(), Err(MessageError::TooLong { actual: 80_002, limit: 65_536, .. })));
    }

    /// Kafka and NATS count both, and take 1 MiB as they are installed.
    #[test]
    fn a_full_payload_leaves_less_room_for_headers() {
        let with = |payload: usize, header: usize| {
            let message = OutboxMessage::bytes("t", vec![0; payload]).unwrap();
            message.header("a", "x".repeat(header))
        };
        assert!(with(1_000_000, 39_999).build().is_ok());
        let error = with(1_000_000, 40_000).build().unwrap_err();
        assert_eq!(error.to_string(), "payload with headers has 1040001 bytes, at most 1040000 are allowed");
        assert!(with(900_000, 60_000).build().is_ok());
        let small = Limits { payload: 10, ..Limits::default() };
        assert!(with(10, 60_000).build_within(&small).is_ok());
        assert!(with(1_500_000, 60_000).build_within(&Limits::default().with_payload(2_000_000)).is_ok());
    }

    /// NATS gets it a second time, as JSON.
    #[test]
    fn white_space_around_a_text_takes_room() {
        let with = |headers: usize, value: &str| {
            let message = OutboxMessage::bytes("t", vec![0; 1_000_000]).unwrap();
            (0..headers).fold(message, |message, i| message.header(format!("h{i}"), value)).build()
        };
        assert!(with(10, &"x".repeat(3_000)).is_ok());
        assert!(with(10, &format!(" {}", "x".repeat(1_900))).is_ok());
        assert_eq!(with(10, &format!(" {}", "x".repeat(2_500))).unwrap_err().field(), "payload with headers");
        assert!(with(10, &"\u{b}".repeat(500)).is_ok());
        assert!(with(10, &"\u{b}".repeat(600)).is_err(), "six bytes for each");
        for text in ["", "\"\\\t\u{8}\u{c}\u{1}\u{7f}\u{e9}", "plain"] {
            assert_eq!(json_length(text) + 2, serde_json::to_string(text).unwrap().len(), "{text:?}");
        }
    }

    #[test]
    fn a_delay_of_ages_is_not_at_once() {
        let message = builder().delay(Duration::MAX).build().unwrap();
        assert_eq!(message.available_at(), UNIX_EPOCH.checked_add(YEAR_9999));
    }

    #[test]
    fn keys_and_attributes_are_checked() {
        assert_eq!(builder().ordering_key("").build().unwrap_err().field(), "ordering_key");
        assert_eq!(builder().ordering_key("k".repeat(513)).build().unwrap_err().field(), "ordering_key");
        assert_eq!(builder().ordering_key("a\nb").build().unwrap_err().field(), "ordering_key");
        assert_eq!(builder().event_type("a\0").build().unwrap_err().field(), "event_type");
        assert_eq!(builder().content_type("").build().unwrap_err().field(), "content_type");
        assert_eq!(builder().schema_version(0).build().unwrap_err().field(), "schema_version");
        assert_eq!(builder().max_attempts(0).build().unwrap_err().field(), "max_attempts");
    }
}
