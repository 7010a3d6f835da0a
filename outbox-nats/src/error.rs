use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind as NatsKind, RequestErrorKind,
};
use outbox_core::PublishError;

use crate::codec::EncodeError;
use crate::link::Unreachable;
use crate::stream::NAMES;
use crate::untaken::Taker;

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
    /// Nobody answered for the subject.
    Untaken {
        subject: &'a str,
        taker: &'a Taker,
    },
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
        Failure::Untaken { subject, taker } => untaken(subject, taker),
        Failure::Ack { error, subject } => match error.kind() {
            NatsKind::StreamNotFound => untaken(subject, &Taker::Nobody),
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
        Failure::JetStream(error) => answered(&error, format!("JetStream: {error}")),
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
            GetStreamErrorKind::JetStream(error) => answered(&error, format!("stream {stream:?}: {error}")),
            _ => PublishError::unavailable(format!("stream {stream:?} can't be asked for: {error}")),
        },
        Failure::StreamCreate { error, stream } => match error.kind() {
            CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::Response => {
                PublishError::unavailable(format!("NATS did not answer: {error}"))
            }
            CreateStreamErrorKind::JetStream(cause) => {
                answered(&cause, format!("stream {stream:?} can't be created: {error}"))
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
        // Full, sealed, out of resources: the next message fares no better, and this one may later.
        _ => answered(error, text),
    }
}

/// Nobody answered for a subject, as nobody does for a stream whose replicas are away.
fn untaken(subject: &str, taker: &Taker) -> PublishError {
    match taker {
        Taker::Nobody => PublishError::retryable(format!(
            "no JetStream stream takes subject {subject:?}: create one, or check that the stream's subjects match it \
             and that JetStream is enabled"
        )),
        Taker::Stream(stream) => PublishError::unavailable(format!(
            "stream {stream:?} did not answer on subject {subject:?}: it has no leader now"
        )),
        Taker::Unsaid(why) => PublishError::unavailable(format!(
            "nobody answered, and NATS does not say which stream takes subject {subject:?}: {why}"
        )),
        // It may be an outage. But a topic without a stream would stop all others for ever if it was called one.
        Taker::Forbidden => PublishError::retryable(format!(
            "no JetStream stream answered on subject {subject:?}: create one, or wait for its leader; to be told which \
             of them it is, this user must be allowed to publish to {NAMES}"
        )),
    }
}

/// An error that JetStream has answered with.
fn answered(error: &jetstream::Error, text: String) -> PublishError {
    if is_leaderless(error) {
        return PublishError::unavailable(text);
    }
    PublishError::retryable(text)
}

/// Servers are away that others wait for, which ends when they come back. Not every 503: a full stream has it too.
fn is_leaderless(error: &jetstream::Error) -> bool {
    match error.error_code() {
        ErrorCode::CLUSTER_NOT_AVAILABLE
        | ErrorCode::CLUSTER_NOT_LEADER
        | ErrorCode::STREAM_OFFLINE
        | ErrorCode::STREAM_OFFLINE_REASON => true,
        // What the replicas of a stream could not agree on comes without a number.
        ErrorCode(0) => error.code() == 503,
        _ => false,
    }
}

/// There is no JetStream for this user.
pub(crate) fn is_disabled(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
    )
}

#[cfg(test)]
mod tests {
    use outbox_core::PublishErrorKind;

    use super::*;

    #[test]
    fn what_lasts_until_servers_come_back_is_an_outage() {
        use PublishErrorKind::{Retryable, Unavailable};

        for (code, number, kind) in [
            (503, 10008, Unavailable),
            (500, 10009, Unavailable),
            (500, 10118, Unavailable),
            (503, 0, Unavailable),
            (400, 0, Retryable),
            (503, 10023, Retryable),
            (503, 10039, Retryable),
            (503, 10076, Retryable),
            (503, 10077, Retryable),
        ] {
            let json = serde_json::json!({ "code": code, "err_code": number, "description": "x" });
            let error: jetstream::Error = serde_json::from_value(json).unwrap();
            assert_eq!(refused(&error, "s").kind(), kind, "{error}");
            assert_eq!(publish_error(Failure::JetStream(error.clone())).kind(), kind, "{error}");
            let create = jetstream::context::CreateStreamError::new(CreateStreamErrorKind::JetStream(error));
            let created = publish_error(Failure::StreamCreate { error: create, stream: "S" });
            assert_eq!(created.kind(), kind, "{created}");
        }
    }
}
