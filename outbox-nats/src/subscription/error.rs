use std::fmt::Display;

use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishErrorKind as NatsKind, RequestErrorKind};
use async_nats::jetstream::stream::ConsumerErrorKind;
use outbox_core::{SubscribeError, SubscribeErrorKind as Kind};

use crate::link::Unreachable;
use crate::stream::Unasked;

/// Everything that can go wrong between the broker and a settled delivery.
pub(crate) enum Failure<'a> {
    Closed,
    Unreachable(Unreachable),
    /// The connection, or the one that pulls on it, is gone.
    Lost,
    /// No message and no sign of life.
    Silent,
    /// The broker did not answer a question in time.
    TimedOut,
    Unasked(Unasked),
    /// No stream takes the topic.
    NoStream {
        topic: &'a str,
    },
    NoConsumer {
        stream: &'a str,
        consumer: &'a str,
        topic: &'a str,
    },
    Consumer {
        error: jetstream::Error,
        stream: &'a str,
        consumer: &'a str,
    },
    Create {
        error: jetstream::stream::ConsumerError,
        stream: &'a str,
        consumer: &'a str,
        topic: &'a str,
    },
    /// The consumer has a setting that breaks the contract.
    Misfit {
        stream: &'a str,
        consumer: &'a str,
        problem: String,
    },
    /// The consumer was deleted while it was read.
    Deleted {
        stream: &'a str,
        consumer: &'a str,
    },
    /// The server ended a pull for some other reason.
    Ended(String),
    /// Nobody takes the settlement.
    Stale,
    /// The broker did not confirm a settlement.
    Unconfirmed(&'a dyn Display),
    NotHandedBack(usize),
    DeadLetter {
        error: jetstream::context::PublishError,
        subject: &'a str,
    },
    DeadLetterTimedOut,
    DeadLetterUnwritable,
}

/// The one place that decides what a failure means on the consuming side.
pub(crate) fn subscribe_error(failure: Failure<'_>) -> SubscribeError {
    let (kind, text) = match failure {
        Failure::Closed => (Kind::Closed, "the NATS subscription is closed".to_owned()),
        Failure::Unreachable(Unreachable(text)) => {
            (Kind::Unavailable, format!("NATS can't be reached at {text}"))
        }
        Failure::Lost => (Kind::Unavailable, "the connection to NATS was lost".to_owned()),
        Failure::Silent => {
            (Kind::Unavailable, "NATS has fallen silent: no message and no heartbeat".to_owned())
        }
        Failure::TimedOut => (Kind::Unavailable, "NATS did not answer in time".to_owned()),
        Failure::Unasked(Unasked::Request(cause)) => match cause.kind() {
            RequestErrorKind::NoResponders => {
                (Kind::Missing, "JetStream is not enabled on this server or for this account".to_owned())
            }
            _ => (Kind::Unavailable, format!("NATS did not answer: {cause}")),
        },
        Failure::Unasked(Unasked::JetStream(cause)) => (Kind::Unavailable, format!("JetStream: {cause}")),
        Failure::NoStream { topic } => (
            Kind::Missing,
            format!("no JetStream stream takes topic {topic:?}: create one, or check the stream's subjects"),
        ),
        Failure::NoConsumer { stream, consumer, topic } => (
            Kind::Missing,
            format!(
                "stream {stream:?} has no consumer {consumer:?} for topic {topic:?}: create it (durable, pull, \
                 ack_policy explicit, filter_subject {topic:?}), or let create=true do so"
            ),
        ),
        Failure::Consumer { error: cause, stream, consumer } => match cause.error_code() {
            ErrorCode::STREAM_NOT_FOUND => {
                (Kind::Missing, format!("there is no JetStream stream {stream:?}"))
            }
            _ => (Kind::Refused, format!("consumer {consumer:?} of stream {stream:?}: {cause}")),
        },
        Failure::Create { error: cause, stream, consumer, topic } => match cause.kind() {
            ConsumerErrorKind::JetStream(cause) => match cause.error_code() {
                ErrorCode::STREAM_NOT_FOUND => {
                    (Kind::Missing, format!("there is no JetStream stream {stream:?}"))
                }
                ErrorCode::CONSUMER_FILTER_NOT_SUBSET => {
                    (Kind::Missing, format!("stream {stream:?} does not take topic {topic:?}"))
                }
                _ => (
                    Kind::Refused,
                    format!("consumer {consumer:?} of stream {stream:?} can't be created: {cause}"),
                ),
            },
            _ => (Kind::Unavailable, format!("NATS did not answer: {cause}")),
        },
        Failure::Misfit { stream, consumer, problem } => (
            Kind::Refused,
            format!("consumer {consumer:?} of stream {stream:?} can't be read by a subscription: {problem}"),
        ),
        Failure::Deleted { stream, consumer } => {
            (Kind::Missing, format!("consumer {consumer:?} of stream {stream:?} was deleted"))
        }
        Failure::Ended(text) => (Kind::Unavailable, format!("NATS ended a pull: {text}")),
        Failure::Stale => (
            Kind::Stale,
            "the consumer that delivered this message is gone; if there is another one, it comes again"
                .to_owned(),
        ),
        Failure::Unconfirmed(cause) => {
            (Kind::Unavailable, format!("NATS did not confirm; the message may come again: {cause}"))
        }
        Failure::NotHandedBack(count) => (
            Kind::Unavailable,
            format!(
                "closed before NATS had confirmed everything; deliveries that come again only when their \
                 time has run out: {count}"
            ),
        ),
        Failure::DeadLetter { error: cause, subject } => match cause.kind() {
            NatsKind::StreamNotFound => (
                Kind::Missing,
                format!(
                    "no JetStream stream takes the dead letters, subject {subject:?}: create one; until then the \
                     message comes again"
                ),
            ),
            NatsKind::TimedOut | NatsKind::BrokenPipe => {
                return subscribe_error(Failure::DeadLetterTimedOut);
            }
            _ => (Kind::Refused, format!("the dead letters on subject {subject:?} refuse it: {cause}")),
        },
        Failure::DeadLetterTimedOut => (
            Kind::Unavailable,
            "NATS did not confirm the dead letter in time; the message comes again".to_owned(),
        ),
        Failure::DeadLetterUnwritable => {
            (Kind::Refused, "a header of the dead letter can't be written as a NATS header".to_owned())
        }
    };
    SubscribeError::new(kind, text)
}
