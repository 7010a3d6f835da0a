//! A message as RabbitMQ stores it, and back, without a broker: for the tests that hold every adapter to the same.
//! Consumers have [`decode`](crate::decode).

use bytes::Bytes;
use lapin::BasicProperties;
use outbox_core::{DecodeError, Envelope, EnvelopeMode, EnvelopeNames, OutboxMessage, PublishError};

use crate::codec;
use crate::error::{Failure, publish_error};

/// The largest frame of a RabbitMQ as it is installed.
pub const FRAME_MAX: usize = 131_072;

/// What a consumer gets.
#[derive(Debug, Clone)]
pub struct Record {
    /// The topic.
    pub routing_key: String,
    /// The fields of AMQP, and the headers.
    pub properties: BasicProperties,
    /// The body.
    pub payload: Bytes,
}

/// What [`AmqpTransport`](crate::AmqpTransport) would publish to a broker with frames of [`FRAME_MAX`].
///
/// # Errors
///
/// What it would refuse before it asks the broker.
pub fn to_wire(message: &OutboxMessage, mode: EnvelopeMode) -> Result<Record, PublishError> {
    let envelope = Envelope::new(EnvelopeNames::AMQP).with_mode(mode);
    let record = codec::encode(message, &envelope, FRAME_MAX)
        .map_err(|error| publish_error(Failure::Unencodable(error)))?;
    let codec::Record { routing_key, properties, payload, .. } = record;
    Ok(Record { routing_key: routing_key.as_str().to_owned(), properties, payload })
}

/// What a subscription makes of a record of anybody.
///
/// # Errors
///
/// [`DecodeError`] if it is no message of an outbox.
pub fn from_wire(record: &Record) -> Result<OutboxMessage, DecodeError> {
    codec::decode(&record.routing_key, &record.properties, record.payload.clone())
}
