use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind as NatsKind, RequestErrorKind,
};
use outbox_core::PublishError;

use crate::codec::EncodeError;
use crate::link::Unreachable;

/// Everything that can go wrong between a message and its acknowledgement, or in a check.
#[derive(Debug)]
pub(crate) enum Failure<'a> {
    Closed,
    Unencodable(EncodeError),
    /// No connection; the text says where to.
    Unreachable(String),
    /// The deadline came before the message was given to the client.
    NotSent,
    /// The connection broke before the message was given to the client.
    Lost,
    /// The client did not take the message.
    TooLarge(jetstream::context::PublishError),
    /// The answer was not a confirmation, or none came.
    Ack {
        error: jetstream::context::PublishError,
        subject: &'a str,
    },
    /// The deadline came before the acknowledgement.
    NoAck,
    /// The server has said in passing that this user may not publish there, and never acknowledges it.
    Forbidden(&'a str),
    CloseTimedOut {
        unconfirmed: usize,
    },
    /// The deadline came before the check was done.
    CheckTimedOut,
    Account(jetstream::context::RequestError),
    JetStream(jetstream::Error),
    StreamInfo {
        error: jetstream::context::GetStreamError,
        stream: &'a str,
    },
    StreamCreate {
        error: jetstream::context::CreateStreamError,
        stream: &'a str,
    },
    StreamWithoutSubjects(&'a str),
    StreamUnusable {
        stream: &'a str,
        problem: &'static str,
    },
}

impl From<Unreachable> for Failure<'_> {
    fn from(Unreachable(text): Unreachable) -> Self {
        Self::Unreachable(text)
    }
}

/// The one place that decides what a failure means for a message.
pub(crate) fn publish_error(failure: Failure<'_>) -> PublishError {
    match failure {
        Failure::Closed => PublishError::unavailable("the NATS transport is closed"),
        Failure::Unencodable(error) => PublishError::rejected(error.to_string()),
        Failure::Unreachable(text) => PublishError::unavailable(format!("NATS can't be reached at {text}")),
        Failure::NotSent => PublishError::unavailable("NATS took no messages until the time for it was over"),
        Failure::Lost => {
            PublishError::unavailable("the connection to NATS was lost before the message was sent")
        }
        Failure::TooLarge(error) => PublishError::rejected(format!(
            "larger than the server's max_payload, which counts headers too: {error}"
        )),
        Failure::Ack { error, subject } => match error.kind() {
            NatsKind::StreamNotFound => PublishError::retryable(format!(
                "no JetStream stream takes subject {subject:?}: create one, or check that the stream's subjects \
                 match it and that JetStream is enabled"
            )),
            NatsKind::TimedOut => publish_error(Failure::NoAck),
            NatsKind::BrokenPipe => {
                PublishError::unknown("the connection to NATS was lost before the confirmation")
            }
            _ => match std::error::Error::source(&error).and_then(|source| source.downcast_ref()) {
                Some(error) => refused(error, subject),
                None => PublishError::unknown(format!(
                    "something that is no JetStream stream answered on subject {subject:?}"
                )),
            },
        },
        Failure::NoAck => PublishError::unknown("NATS did not confirm in time"),
        Failure::Forbidden(subject) => PublishError::retryable(format!(
            "this user may not publish to subject {subject:?}: change its permissions"
        )),
        Failure::CloseTimedOut { unconfirmed } => PublishError::unknown(format!(
            "closed before NATS had confirmed everything; messages under way: {unconfirmed}"
        )),
        Failure::CheckTimedOut => PublishError::unavailable("NATS did not answer in time"),
        Failure::JetStream(error) => PublishError::retryable(format!("JetStream: {error}")),
        Failure::Account(error) => match error.kind() {
            RequestErrorKind::NoResponders => {
                PublishError::retryable("JetStream is not enabled on this server or for this account")
            }
            _ => PublishError::unavailable(format!("NATS did not answer: {error}")),
        },
        Failure::StreamInfo { error, stream } => match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                PublishError::retryable(format!(
                    "there is no JetStream stream {stream:?}: create it, or let create=true do so"
                ))
            }
            GetStreamErrorKind::JetStream(error) => {
                PublishError::retryable(format!("stream {stream:?}: {error}"))
            }
            _ => PublishError::unavailable(format!("stream {stream:?} can't be asked for: {error}")),
        },
        Failure::StreamCreate { error, stream } => match error.kind() {
            CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::Response => {
                PublishError::unavailable(format!("NATS did not answer: {error}"))
            }
            _ => PublishError::retryable(format!("stream {stream:?} can't be created: {error}")),
        },
        Failure::StreamWithoutSubjects(stream) => PublishError::retryable(format!(
            "there is no JetStream stream {stream:?}, and without subjects=… it can't be created"
        )),
        Failure::StreamUnusable { stream, problem } => {
            PublishError::retryable(format!("stream {stream:?} {problem}"))
        }
    }
}

/// A stream answered, and did not store the message.
fn refused(error: &jetstream::Error, subject: &str) -> PublishError {
    let text = format!("the stream of subject {subject:?} refused the message: {error}");
    match error.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            PublishError::rejected(text)
        }
        // Full, sealed, without leader, out of resources: the next message fares no better, and this one may later.
        _ => PublishError::retryable(text),
    }
}
