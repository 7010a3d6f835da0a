//! A message as Kafka stores it, and back, without a broker: for the tests that hold every adapter to the same. Consumers
//! have [`decode`](crate::decode).

use outbox_core::{
    DecodeError, Envelope, EnvelopeMode, EnvelopeNames, OrderingKey, OutboxMessage, PublishError,
};
use rdkafka::Timestamp;
use rdkafka::message::OwnedMessage;

use crate::codec;

/// What a consumer gets.
pub type Record = OwnedMessage;

/// What [`KafkaTransport`](crate::KafkaTransport) would publish.
///
/// # Errors
///
/// What it would refuse before it asks a broker.
pub fn to_wire(message: &OutboxMessage, mode: EnvelopeMode) -> Result<Record, PublishError> {
    let envelope = Envelope::new(EnvelopeNames::UNDERSCORE).with_mode(mode);
    let encoded = codec::encode(message, &envelope)?;
    let key = message.ordering_key().map(|key: &OrderingKey| key.as_str().as_bytes().to_vec());
    let (payload, topic) = (message.payload().to_vec(), encoded.topic().to_owned());
    let time = encoded.timestamp.map_or(Timestamp::NotAvailable, Timestamp::CreateTime);
    Ok(OwnedMessage::new(Some(payload), key, topic, time, 0, 0, Some(encoded.headers)))
}

/// What a subscription makes of a record of anybody.
///
/// # Errors
///
/// [`DecodeError`] if it is no message of an outbox.
pub fn from_wire(record: &Record) -> Result<OutboxMessage, DecodeError> {
    codec::decode(record)
}
