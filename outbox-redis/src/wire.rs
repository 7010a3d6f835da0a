//! A message as Redis stores it, and back, without a server: for the tests that hold every adapter to the same. Consumers
//! have [`decode_entry`](crate::decode_entry) and [`decode_element`](crate::decode_element).

use outbox_core::{DecodeError, Envelope, EnvelopeMode, EnvelopeNames, OutboxMessage, PublishError};
use redis::Arg;

use crate::error::{Failure, publish_error};
use crate::{RedisMode, event, fields};

/// What a consumer gets.
#[derive(Debug, Clone)]
pub enum Record {
    /// An entry of a stream.
    Entry {
        /// The key of the stream.
        topic: String,
        /// Names and values, in their order.
        fields: Vec<(String, Vec<u8>)>,
    },
    /// An element of a list.
    Element {
        /// The key of the list.
        topic: String,
        /// All of it.
        bytes: Vec<u8>,
    },
}

/// What [`RedisTransport`](crate::RedisTransport) would write.
///
/// # Errors
///
/// What it would refuse before it asks a server.
pub fn to_wire(message: &OutboxMessage, mode: EnvelopeMode, data: RedisMode) -> Result<Record, PublishError> {
    let envelope = Envelope::new(EnvelopeNames::HYPHEN).with_mode(mode);
    let topic = message.topic().as_str().to_owned();
    let unencodable = |error| publish_error(Failure::Unencodable(error));
    match data {
        RedisMode::Stream => {
            let command = fields::add(message, &topic, &envelope, None).map_err(unencodable)?;
            // Behind the command, the key and the star.
            let mut words = command.args_iter().skip(3).map(|word| match word {
                Arg::Simple(bytes) => bytes.to_vec(),
                _ => Vec::new(),
            });
            let mut fields = Vec::new();
            while let (Some(name), Some(value)) = (words.next(), words.next()) {
                fields.push((String::from_utf8_lossy(&name).into_owned(), value));
            }
            Ok(Record::Entry { topic, fields })
        }
        RedisMode::List => {
            let bytes = event::element(message, &envelope).map_err(unencodable)?.into_owned();
            Ok(Record::Element { topic, bytes })
        }
    }
}

/// What a subscription makes of a record of anybody.
///
/// # Errors
///
/// [`DecodeError`] if it is no message of an outbox.
pub fn from_wire(record: &Record) -> Result<OutboxMessage, DecodeError> {
    match record {
        Record::Entry { topic, fields } => {
            let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            fields::decode_entry(topic, fields)
        }
        Record::Element { topic, bytes } => event::decode_element(topic, bytes),
    }
}
