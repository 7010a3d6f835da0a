use std::borrow::Cow;
use std::fmt::Debug;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use outbox::bytes::Bytes;
use outbox::kafka::rdkafka::Timestamp;
use outbox::kafka::rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use outbox::redis::RedisMode;
use outbox::redis::wire::Record;
use outbox::{DecodeError, EnvelopeMode, Limits, OutboxMessage, PublishError};

use crate::input::Input;

const TOPIC: &str = "orders";

/// The names that somebody reads, in every spelling, so that those of one broker are foreign to the others.
const NAMES: &[&str] = &[
    "ce_id",
    "ce-id",
    "cloudEvents_id",
    "Nats-Msg-Id",
    "ce_subject",
    "ce_type",
    "ce-type",
    "cloudEvents_type",
    "content-type",
    "outbox-key",
    "outbox-schema-version",
    "outbox-aggregate-type",
    "outbox-verbatim",
    "outbox-dead-group",
    "ce_time",
    "ce-time",
    "payload",
    "header.tenant",
    "tenant",
    "cloudEvents_time",
    "ce_correlationid",
];

/// A record of anybody is a message or an error.
pub fn kafka(input: &[u8]) {
    use outbox::kafka::wire;

    let input = &mut Input::new(input);
    let key = input.flag().then(|| input.bytes().to_vec());
    let payload = input.flag().then(|| input.bytes().to_vec());
    let mut headers = OwnedHeaders::new();
    while !input.is_over() {
        let name = input.name(NAMES);
        let value = input.flag().then(|| input.bytes());
        // The client ends a name at a zero, and panics if it is to write one.
        if !name.contains('\0') {
            headers = headers.insert(Header { key: &name, value });
        }
    }
    let time = Timestamp::NotAvailable;
    let record = OwnedMessage::new(payload, key, TOPIC.to_owned(), time, 0, 0, Some(headers));
    check(&record, wire::from_wire, |message| wire::to_wire(message, EnvelopeMode::CloudEvents));
}

/// A record of anybody is a message or an error.
pub fn amqp(input: &[u8]) {
    use outbox::amqp::wire;

    let input = &mut Input::new(input);
    let short = |text: Cow<'_, str>| ShortString::try_new(text).ok();
    let mut properties = BasicProperties::default();
    if let Some(id) = input.option().and_then(short) {
        properties = properties.with_message_id(id);
    }
    if let Some(content_type) = input.option().and_then(short) {
        properties = properties.with_content_type(content_type);
    }
    if input.flag() {
        let mut headers = FieldTable::default();
        while !input.is_over() {
            if let Some(name) = short(input.name(NAMES)) {
                headers.insert(name, amqp_value(input));
            }
        }
        properties = properties.with_headers(headers);
    }
    let record = wire::Record { routing_key: TOPIC.to_owned(), properties, payload: Bytes::new() };
    check(&record, wire::from_wire, |message| wire::to_wire(message, EnvelopeMode::CloudEvents));
}

fn amqp_value(input: &mut Input<'_>) -> AMQPValue {
    match input.byte() % 6 {
        0 => AMQPValue::LongString(input.bytes().into()),
        1 => ShortString::try_new(input.text()).map_or(AMQPValue::Void, AMQPValue::ShortString),
        2 => AMQPValue::LongLongInt(i64::from_be_bytes(input.array())),
        3 => AMQPValue::FieldTable(FieldTable::default()),
        4 => AMQPValue::ByteArray(input.bytes().into()),
        _ => AMQPValue::Boolean(input.flag()),
    }
}

/// A record of anybody is a message or an error.
pub fn nats(input: &[u8]) {
    use outbox::nats::wire;

    let input = &mut Input::new(input);
    let payload = Bytes::copy_from_slice(input.bytes());
    let mut headers = HeaderMap::new();
    while !input.is_over() {
        let (name, value) = (input.name(NAMES), input.text());
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    }
    let record = wire::Record {
        subject: TOPIC.into(),
        reply: None,
        payload,
        headers: Some(headers),
        status: None,
        description: None,
        length: 0,
    };
    check(&record, wire::from_wire, |message| wire::to_wire(message, EnvelopeMode::CloudEvents));
}

/// A record of anybody is a message or an error: the input as an element of a list, and as the fields of an entry of a
/// stream.
pub fn redis(input: &[u8]) {
    use outbox::redis::wire;

    let topic = TOPIC.to_owned();
    let element = Record::Element { topic: topic.clone(), bytes: input.to_vec() };
    let as_list = |message: &_| wire::to_wire(message, EnvelopeMode::CloudEvents, RedisMode::List);
    check(&element, wire::from_wire, as_list);

    let input = &mut Input::new(input);
    let mut fields = Vec::new();
    while !input.is_over() {
        fields.push((input.name(NAMES).into_owned(), input.bytes().to_vec()));
    }
    let entry = Record::Entry { topic, fields };
    let as_stream = |message: &_| wire::to_wire(message, EnvelopeMode::CloudEvents, RedisMode::Stream);
    check(&entry, wire::from_wire, as_stream);
}

/// What is read keeps to the rules, and stays the same when it is published again.
fn check<R: Debug>(
    record: &R,
    read: impl Fn(&R) -> Result<OutboxMessage, DecodeError>,
    write: impl Fn(&OutboxMessage) -> Result<R, PublishError>,
) {
    let message = match read(record) {
        Ok(message) => message,
        Err(error) => return drop(format!("{error} {error:?}")),
    };
    if let Err(error) = message.check(&Limits::without_sizes()) {
        panic!("{error}: {record:?}");
    }
    // Sizes are those of another broker, and so may names be.
    let Ok(written) = write(&message) else {
        return;
    };
    match read(&written) {
        Ok(again) => assert_eq!(again, message),
        Err(error) => panic!("{error}: {written:?}"),
    }
}
