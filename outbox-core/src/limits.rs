/// What a message may be at most. Lengths are in bytes.
///
/// The defaults fit every supported broker as it is installed: Kafka and NATS refuse records of about 1 MB, RabbitMQ
/// routing keys and Kafka topics end at 255 and 249 bytes. Topic, key and header limits are also `CHECK`s of the
/// tables, for writers in other languages; there a payload may have up to [`Limits::MAX_PAYLOAD`].
///
/// Brokers count headers too: payload and headers together may have [`Limits::BESIDE_PAYLOAD`] bytes more than the largest
/// payload.
///
/// Raise `payload` only together with the broker's own limit: a larger message is refused by the broker and goes to
/// the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the payload; 1,000,000 by default.
    pub payload: usize,
    /// Bytes of all header names and values together; 65,536 by default.
    pub headers: usize,
    /// Number of headers; 64 by default.
    pub header_count: usize,
}

impl Limits {
    /// The largest payload that the tables take: 16 MiB, which is also MariaDB's default `max_allowed_packet`.
    pub const MAX_PAYLOAD: usize = 16 * 1024 * 1024;
    /// What headers may add to the largest payload, in bytes: 40,000. With everything else that travels, the record stays
    /// below 1 MiB. A text with white space around it counts a second time, as JSON: NATS gets it twice.
    pub const BESIDE_PAYLOAD: usize = 40_000;
    /// Bytes of a topic: 249, Kafka's limit and the shortest of all brokers.
    pub const TOPIC: usize = 249;
    /// Bytes of an ordering key.
    pub const ORDERING_KEY: usize = 512;
    /// Bytes of one header name.
    pub const HEADER_NAME: usize = 127;
    /// Bytes of the short descriptive fields: event type, aggregate type and id, correlation id, content type.
    pub const ATTRIBUTE: usize = 255;

    /// No limit of size for payload and headers: for a message that is on its way to or from a broker, which judges sizes
    /// itself. Characters are checked all the same.
    #[must_use]
    pub const fn without_sizes() -> Self {
        Self { payload: usize::MAX, headers: usize::MAX, header_count: usize::MAX }
    }

    /// Bytes of payload and headers together. A lower limit for payloads is no reason for fewer headers.
    pub(crate) fn together(&self) -> usize {
        self.payload.max(Self::default().payload).saturating_add(Self::BESIDE_PAYLOAD)
    }

    /// The defaults with another payload limit, at most [`Limits::MAX_PAYLOAD`].
    #[must_use]
    pub fn with_payload(mut self, bytes: usize) -> Self {
        self.payload = bytes.min(Self::MAX_PAYLOAD);
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload: 1_000_000, headers: 64 * 1024, header_count: 64 }
    }
}
