use std::time::{Duration, UNIX_EPOCH};

use outbox::amqp::wire::FRAME_MAX;
use outbox::kafka::rdkafka::Message as _;
use outbox::kafka::rdkafka::message::Headers as _;
use outbox::redis::RedisMode;
use outbox::redis::wire::Record;
use outbox::{DecodeError, EnvelopeMode, MessageId, OutboxMessage, PublishError, PublishErrorKind};
use outbox::{amqp, kafka, nats, redis};

use crate::input::Input;

/// `message.max.bytes` of Kafka, for a batch of one record.
const KAFKA_BATCH: usize = 1_048_588;
/// `max_payload` of NATS, for headers and payload.
const NATS_PAYLOAD: usize = 1_048_576;
/// `max_message_size` of RabbitMQ, for the payload.
const RABBITMQ_PAYLOAD: usize = 16_777_216;
/// `proto-max-bulk-len` of Redis, for each value.
const REDIS_BULK: usize = 536_870_912;

/// What the builder accepts can be encoded for every broker, is not larger than brokers take as they are installed, and
/// is read back as it was.
pub fn accepted_is_publishable(input: &[u8]) {
    let Some(message) = message(&mut Input::new(input)) else {
        return;
    };
    for mode in [EnvelopeMode::CloudEvents, EnvelopeMode::Raw] {
        to_kafka(&message, mode);
        to_rabbitmq(&message, mode);
        to_nats(&message, mode);
        to_redis(&message, mode);
    }
}

/// Whether the builder takes the message that this input is.
#[must_use]
pub fn is_accepted(input: &[u8]) -> bool {
    message(&mut Input::new(input)).is_some()
}

/// A message as the builder and then a database make it.
fn message(input: &mut Input<'_>) -> Option<OutboxMessage> {
    let topic = input.text();
    let payload = match input.byte() {
        0xff => vec![0; 999_990 + usize::from(input.byte())],
        0xfe => b"null".to_vec(),
        more => input.bytes().repeat(usize::from(more) + 1),
    };
    let mut builder = OutboxMessage::bytes(&topic, payload).ok()?.id(id(input.array()));
    if let Some(key) = input.option() {
        builder = builder.ordering_key(key);
    }
    if let Some(kind) = input.option() {
        builder = builder.event_type(kind);
    }
    if input.flag() {
        builder = builder.aggregate(input.text(), input.text());
    }
    if let Some(id) = input.option() {
        builder = builder.correlation_id(id);
    }
    match input.byte() {
        0 => {}
        1..0x80 => builder = builder.content_type(input.text()),
        0x80.. => builder = builder.content_type("application/json"),
    }
    if input.flag() {
        builder = builder.schema_version(i32::from_be_bytes(input.array()));
    }
    let delay = input.flag().then(|| Duration::from_secs(u64::from_be_bytes(input.array())));
    if let Some(delay) = delay {
        builder = builder.delay(delay);
    }
    let created_at = input.flag().then(|| Duration::from_nanos(u64::from_be_bytes(input.array())));
    for _ in 0..input.byte() {
        // Many headers are as interesting as odd ones.
        builder = builder.header(input.text(), input.text());
    }
    let message = builder.build().ok()?;
    assert_eq!(message.available_at().is_some(), delay.is_some(), "a delay is not forgotten");
    let mut parts = message.into_parts();
    parts.created_at = created_at.and_then(|time| UNIX_EPOCH.checked_add(time));
    Some(OutboxMessage::stored(parts))
}

fn id(bytes: [u8; 16]) -> MessageId {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    digits.parse().expect("32 digits are a UUID")
}

fn to_kafka(message: &OutboxMessage, mode: EnvelopeMode) {
    let topic = message.topic().as_str();
    let legal = topic.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let Some(record) = taken(kafka::wire::to_wire(message, mode), legal) else {
        return;
    };
    let headers = record.headers().map_or(0, |headers| {
        // Both lengths in front, with up to 5 bytes each.
        headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + 10).sum()
    });
    // The head of a batch has 61 bytes; that of a record has lengths, times and numbers.
    let record_size = record.key().map_or(0, <[u8]>::len) + record.payload().map_or(0, <[u8]>::len);
    assert!(61 + 40 + record_size + headers <= KAFKA_BATCH, "too large for Kafka: {record_size} + {headers}");
    read_back(message, mode, kafka::wire::from_wire(&record));
}

fn to_rabbitmq(message: &OutboxMessage, mode: EnvelopeMode) {
    let routes = message.headers().iter().any(|(name, _)| matches!(name, "CC" | "BCC"));
    let Some(record) = taken(amqp::wire::to_wire(message, mode), !routes) else {
        return;
    };
    let mut frame = 8 + 14 + 4 + 8 + 1;
    let properties = &record.properties;
    let short = [properties.message_id(), properties.content_type(), properties.kind()];
    frame += short.into_iter().flatten().map(|text| 1 + text.as_str().len()).sum::<usize>();
    if let Some(headers) = properties.headers() {
        for (name, value) in headers.inner() {
            // A short and a long string, and what type the second one is.
            frame += 1 + name.as_str().len() + 1 + 4 + value.as_long_string().map_or(0, |text| text.len());
        }
    }
    assert!(frame <= FRAME_MAX, "the properties need a frame of {frame} bytes");
    assert!(record.payload.len() <= RABBITMQ_PAYLOAD, "too large for RabbitMQ");
    read_back(message, mode, amqp::wire::from_wire(&record));
}

fn to_nats(message: &OutboxMessage, mode: EnvelopeMode) {
    let topic = message.topic().as_str();
    let command = topic.starts_with('$') && !topic.starts_with("$KV.");
    let Some(mut record) =
        taken(nats::wire::to_wire(message, mode), !command && !topic.starts_with("_INBOX"))
    else {
        return;
    };
    let headers = record.headers.take().unwrap_or_default();
    let lines = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let lines = lines.map(|(name, value)| (name.to_string(), value.as_str().to_owned())).collect::<Vec<_>>();
    // Between "NATS/1.0" and an empty line.
    let block = 12 + lines.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
    let size = block + record.payload.len();
    assert!(size <= NATS_PAYLOAD, "too large for NATS: {block} + {}", record.payload.len());
    // Every client trims what it reads.
    record.headers = Some(lines.iter().map(|(name, value)| trimmed(name, value)).collect());
    read_back(message, mode, nats::wire::from_wire(&record));
    record.headers = Some(headers);
    read_back(message, mode, nats::wire::from_wire(&record));
}

fn trimmed(name: &str, value: &str) -> (async_nats::HeaderName, async_nats::HeaderValue) {
    let name = name.parse().expect("it was a name");
    (name, value.trim().parse().expect("a part of a value is one"))
}

fn to_redis(message: &OutboxMessage, mode: EnvelopeMode) {
    for data in [RedisMode::Stream, RedisMode::List] {
        let Some(record) = taken(redis::wire::to_wire(message, mode, data), true) else {
            return;
        };
        let largest = match &record {
            Record::Entry { fields, .. } => fields.iter().map(|(_, value)| value.len()).max(),
            Record::Element { bytes, .. } => Some(bytes.len()),
        };
        assert!(largest <= Some(REDIS_BULK), "too large for Redis");
        read_back(message, mode, redis::wire::from_wire(&record));
    }
}

/// What a broker can't carry for its own reasons is refused for good, and nothing else is.
fn taken<R>(encoded: Result<R, PublishError>, expected: bool) -> Option<R> {
    match encoded {
        Ok(record) => {
            assert!(expected, "it must not be published");
            Some(record)
        }
        Err(error) => {
            assert!(!expected, "it was accepted and can't be published: {error}");
            assert_eq!(error.kind(), PublishErrorKind::Rejected, "another try is of no use: {error}");
            None
        }
    }
}

fn read_back(message: &OutboxMessage, mode: EnvelopeMode, read: Result<OutboxMessage, DecodeError>) {
    // The other one has no id in most brokers.
    if mode != EnvelopeMode::CloudEvents {
        return;
    }
    let mut expected = message.clone().into_parts();
    // These are matters of the relay.
    (expected.available_at, expected.max_attempts) = (None, None);
    // This is what it means to have none.
    expected.event_type = expected.event_type.filter(|kind| **kind != *expected.topic.as_str());
    match read {
        Ok(read) => assert_eq!(read.into_parts(), expected),
        Err(error) => panic!("it can't be read back: {error}"),
    }
}
