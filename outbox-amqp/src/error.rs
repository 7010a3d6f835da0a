use outbox_core::PublishError;
#[cfg(feature = "subscription")]
use outbox_core::{SubscribeError, SubscribeErrorKind};

use crate::codec::EncodeError;
use crate::topology::code;

// Codes with which the broker closes a channel.
const CONTENT_TOO_LARGE: u16 = 311;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// Everything that can go wrong between a message and its confirmation, or in a check.
#[derive(Debug)]
pub(crate) enum Failure<'a> {
    Closed,
    Unencodable(EncodeError),
    /// No connection; the text says where to and why.
    Unreachable(&'a str),
    /// The broker has said that it takes no messages now.
    Blocked,
    /// The broker does not even answer whether it takes messages.
    Silent,
    /// The deadline came before the message was given to the client.
    NotSent,
    /// The deadline came before the confirmation.
    NoAnswer,
    /// The channel or the connection broke while the message was under way.
    Lost(&'a lapin::Error),
    /// Confirmed, and perhaps returned before: not all that came back was seen.
    PerhapsReturned,
    /// The broker closed the channel because of this message, which was alone on it.
    Refused {
        error: &'a lapin::Error,
        topic: &'a str,
        exchange: &'a str,
    },
    /// The channel could not be made ready; nothing was sent.
    NotReady {
        error: &'a lapin::Error,
        exchange: &'a str,
    },
    /// The broker answered with a negative acknowledgement.
    Nack,
    /// The channel does not confirm at all.
    NotConfirming,
    /// No queue took the message.
    Returned {
        topic: &'a str,
        exchange: &'a str,
        reply: &'a str,
        reject: bool,
    },
    CloseTimedOut {
        unconfirmed: usize,
    },
    CheckTimedOut,
}

/// What a failure means for the message: the one place where that is decided.
pub(crate) fn publish_error(failure: Failure<'_>) -> PublishError {
    match failure {
        Failure::Closed => PublishError::unavailable("the transport is closed"),
        Failure::Unencodable(error) => unencodable(error),
        Failure::Unreachable(text) => {
            PublishError::unavailable(format!("RabbitMQ can't be reached at {text}"))
        }
        Failure::Blocked => PublishError::unavailable(
            "RabbitMQ has blocked this connection: an alarm of its memory or disk; see rabbitmq-diagnostics alarms",
        ),
        Failure::Silent => PublishError::unavailable("RabbitMQ does not answer; the message was not sent"),
        Failure::NotSent => PublishError::unavailable("the message was not sent in time"),
        Failure::NoAnswer => {
            PublishError::unknown("RabbitMQ did not confirm in time; it may have the message")
        }
        Failure::Lost(error) => {
            let text = format!("RabbitMQ did not confirm the message and may have it: {error}");
            PublishError::unknown(text).with_source(error.clone())
        }
        Failure::PerhapsReturned => PublishError::unknown(
            "RabbitMQ confirmed the message and did not say in time whether a queue has taken it",
        ),
        Failure::Refused { error, topic, exchange } => refused(error, topic, exchange),
        Failure::NotReady { error, exchange } => not_ready(error, exchange),
        Failure::Nack => PublishError::retryable(
            "RabbitMQ did not take the message: a queue is full (overflow=reject-publish) or could not store it",
        ),
        Failure::NotConfirming => PublishError::unknown(
            "the channel does not confirm messages, so nobody knows whether RabbitMQ has it: a defect of the client",
        ),
        Failure::Returned { topic, exchange, reply, reject } => {
            let text = if exchange.is_empty() {
                format!("there is no queue {topic:?}: create it, or let create=true do so ({reply})")
            } else {
                format!("no queue is bound to the exchange {exchange:?} for the topic {topic:?} ({reply})")
            };
            if reject { PublishError::rejected(text) } else { PublishError::retryable(text) }
        }
        Failure::CloseTimedOut { unconfirmed } => {
            PublishError::unknown(format!("closed while {unconfirmed} messages were unconfirmed"))
        }
        Failure::CheckTimedOut => PublishError::unavailable("RabbitMQ did not answer the check in time"),
    }
}

fn unencodable(error: EncodeError) -> PublishError {
    let text = "the message can't be written for AMQP";
    match error {
        EncodeError::Message(error) => PublishError::rejected(format!("{text}: {error}")).with_source(error),
        EncodeError::Routing { name } => PublishError::rejected(format!(
            "{text}: RabbitMQ would send copies to where the header {name:?} says; give the header another name"
        )),
        EncodeError::TooLong { what } => {
            PublishError::rejected(format!("{text}: {what} has more than 255 bytes"))
        }
        EncodeError::Headers { bytes, limit } => PublishError::rejected(format!(
            "{text}: the headers have {bytes} bytes, and a frame of this broker has room for {limit} (frame_max)"
        )),
    }
}

/// Whether the broker closes a channel with this for the sake of one message, and takes the others.
pub(crate) fn blames_a_message(error: &lapin::Error) -> bool {
    matches!(code(error), Some(CONTENT_TOO_LARGE | ACCESS_REFUSED | PRECONDITION_FAILED))
}

fn refused(error: &lapin::Error, topic: &str, exchange: &str) -> PublishError {
    let source = error.clone();
    match code(error) {
        Some(CONTENT_TOO_LARGE) => too_large(error),
        Some(PRECONDITION_FAILED) if error.to_string().contains("message size") => too_large(error),
        Some(PRECONDITION_FAILED) => {
            PublishError::retryable(format!("RabbitMQ refuses the message: {error}"))
        }
        // What a user may do is changed without a new message.
        Some(ACCESS_REFUSED) => PublishError::retryable(format!(
            "this user may not publish the topic {topic:?} to the exchange {exchange:?}: {error}"
        )),
        Some(NOT_FOUND) => return not_ready(error, exchange),
        _ => return publish_error(Failure::Lost(error)),
    }
    .with_source(source)
}

fn too_large(error: &lapin::Error) -> PublishError {
    PublishError::rejected(format!("the message is too large for RabbitMQ (max_message_size): {error}"))
}

fn not_ready(error: &lapin::Error, exchange: &str) -> PublishError {
    let source = error.clone();
    match code(error) {
        Some(NOT_FOUND) => PublishError::retryable(format!(
            "there is no exchange {exchange:?}: create it, or let create=true do so"
        )),
        Some(ACCESS_REFUSED) => {
            PublishError::retryable(format!("this user may not use the exchange {exchange:?}: {error}"))
        }
        Some(PRECONDITION_FAILED) => {
            PublishError::retryable(format!("something of this name exists with other settings: {error}"))
        }
        _ => PublishError::unavailable(format!("RabbitMQ gives no channel: {error}")),
    }
    .with_source(source)
}

/// What a failure means for the consuming side: the one place where that is decided.
#[cfg(feature = "subscription")]
pub(crate) fn subscribe_error(what: &str, error: &lapin::Error) -> SubscribeError {
    let (kind, text) = match code(error) {
        Some(404) => (SubscribeErrorKind::Missing, format!("{what} does not exist: {error}")),
        Some(403 | 405 | 406) => (SubscribeErrorKind::Refused, format!("RabbitMQ refuses {what}: {error}")),
        _ => (SubscribeErrorKind::Unavailable, format!("the connection to RabbitMQ failed: {error}")),
    };
    SubscribeError::new(kind, text).with_source(error.clone())
}
