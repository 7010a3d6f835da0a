use outbox_core::{BoxError, MessageError, PublishError, PublishErrorKind};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Everything that can go wrong between a message and its confirmation, or in a check.
#[derive(Debug)]
pub(crate) enum Failure<'a> {
    Closed,
    Unencodable(MessageError),
    /// One value of it alone.
    TooLarge {
        bytes: usize,
        limit: usize,
    },
    /// No connection; the text says where to and why.
    Unreachable(&'a str),
    /// The deadline came before the message was given to the client.
    NotSent,
    /// The deadline came before the answer.
    NoAnswer,
    /// The connection broke, or the client could not read the answer.
    Lost(&'a RedisError),
    /// The server's answer to this one command.
    Refused {
        error: &'a RedisError,
        key: &'a str,
    },
    /// Fewer replicas have it than were asked for.
    NotReplicated {
        wanted: u32,
        found: i64,
    },
    /// `strict=true` and a server that loses messages.
    Unsafe(&'a str),
    CloseTimedOut {
        unconfirmed: usize,
    },
    CheckTimedOut,
}

/// What a failure means for the message: the one place where that is decided.
pub(crate) fn publish_error(failure: Failure<'_>) -> PublishError {
    match failure {
        Failure::Closed => PublishError::unavailable("the transport is closed"),
        Failure::Unencodable(error) => {
            PublishError::rejected(format!("the message can't be written for Redis: {error}"))
                .with_source(error)
        }
        Failure::TooLarge { bytes, limit } => PublishError::rejected(format!(
            "one value of the message has {bytes} bytes, and this server takes {limit} (proto-max-bulk-len)"
        )),
        Failure::Unreachable(text) => PublishError::unavailable(format!("Redis can't be reached at {text}")),
        Failure::NotSent => PublishError::unavailable("the message was not sent in time"),
        Failure::NoAnswer => PublishError::unknown("Redis did not answer in time; it may have the message"),
        Failure::Lost(error) => {
            let text = format!("the connection to Redis was lost; it may have the message: {error}");
            PublishError::unknown(text).with_source(error.clone())
        }
        Failure::Refused { error, key } => refused(error, key),
        Failure::NotReplicated { wanted, found } => PublishError::unknown(format!(
            "Redis has the message, but only {found} of {wanted} replicas do (wait={wanted})"
        )),
        Failure::Unsafe(problem) => {
            PublishError::unavailable(format!("refused because of strict=true: {problem}"))
        }
        Failure::CloseTimedOut { unconfirmed } => {
            PublishError::unknown(format!("closed while {unconfirmed} messages were unconfirmed"))
        }
        Failure::CheckTimedOut => PublishError::unavailable("Redis did not answer the check in time"),
    }
}

/// Whether this server takes nothing any more, and another connection may lead to one that does: it became a replica, or
/// its password was changed.
pub(crate) fn is_elsewhere(error: &RedisError) -> bool {
    let server =
        matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
    server || error.code() == Some("NOAUTH")
}

/// The server took the command and did not carry it out.
fn refused(error: &RedisError, key: &str) -> PublishError {
    let source: BoxError = error.clone().into();
    let code = error.code().unwrap_or_default();
    let (kind, text) = match (error.kind(), code) {
        (_, "OOM") => (PublishErrorKind::Retryable, format!("Redis is full: {error}")),
        (_, "WRONGTYPE") => {
            (PublishErrorKind::Retryable, format!("the key {key:?} is in use for something else: {error}"))
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => {
            (PublishErrorKind::Retryable, format!("this user may not write to the key {key:?}: {error}"))
        }
        // A replica, a server that starts, one that was told not to write without replicas, a cluster that moves: the
        // same for every message, until it is over.
        (
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask,
            ),
            _,
        )
        | (_, "MISCONF" | "NOREPLICAS" | "NOAUTH" | "BUSY") => {
            (PublishErrorKind::Unavailable, format!("Redis takes no messages now: {error}"))
        }
        _ => (PublishErrorKind::Retryable, format!("Redis refused the message for the key {key:?}: {error}")),
    };
    PublishError::new(kind, text).with_source(source)
}
