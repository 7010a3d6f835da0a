//! A message as JetStream stores it, and back, without a broker: for the tests that hold every adapter to the same.
//! Consumers have [`decode`](crate::decode).

use async_nats::Message;
use outbox_core::{DecodeError, Envelope, EnvelopeMode, EnvelopeNames, OutboxMessage, PublishError};

use crate::codec;
use crate::error::{Failure, publish_error};

/// What a consumer gets.
pub type Record = Message;

/// What [`NatsTransport`](crate::NatsTransport) would publish.
///
/// # Errors
///
/// What it would refuse before it asks a broker.
pub fn to_wire(message: &OutboxMessage, mode: EnvelopeMode) -> Result<Record, PublishError> {
    let envelope = Envelope::new(EnvelopeNames::HYPHEN).with_mode(mode);
    let record =
        codec::encode(message, &envelope).map_err(|error| publish_error(Failure::Unencodable(error)))?;
    let codec::Record { headers, payload } = record;
    let subject = message.topic().as_str().into();
    let length = payload.len();
    let headers = Some(headers);
    Ok(Message { subject, reply: None, payload, headers, status: None, description: None, length })
}

/// What a subscription makes of a record of anybody.
///
/// # Errors
///
/// [`DecodeError`] if it is no message of an outbox.
pub fn from_wire(record: &Record) -> Result<OutboxMessage, DecodeError> {
    codec::decode(record)
}
