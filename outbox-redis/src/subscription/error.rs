use outbox_core::{SubscribeError, SubscribeErrorKind as Kind};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Everything that can go wrong between the server and a settled delivery.
#[derive(Debug)]
pub(crate) enum Failure<'a> {
    Closed,
    /// No connection; the text says where to and why.
    Unreachable(&'a str),
    TimedOut,
    /// The task that receives is gone.
    Ended,
    Operation(&'a RedisError),
    /// Somebody else has it, or has settled it.
    Stale,
    /// The key of a topic is something else.
    Misfit {
        key: &'a str,
        found: &'a str,
        wanted: &'static str,
    },
    NotHandedBack,
}

/// What a failure means: the one place where that is decided.
pub(crate) fn subscribe_error(failure: Failure<'_>) -> SubscribeError {
    match failure {
        Failure::Closed => SubscribeError::new(Kind::Closed, "the subscription is closed"),
        Failure::Unreachable(text) => {
            SubscribeError::new(Kind::Unavailable, format!("Redis can't be reached at {text}"))
        }
        Failure::TimedOut => SubscribeError::new(Kind::Unavailable, "Redis does not answer"),
        Failure::Ended => SubscribeError::new(Kind::Unavailable, "receiving has ended unexpectedly"),
        Failure::Operation(error) => operation(error),
        Failure::Stale => SubscribeError::new(
            Kind::Stale,
            "the delivery belongs to somebody else by now; if it is not settled, it comes again there",
        ),
        Failure::Misfit { key, found, wanted } => SubscribeError::new(
            Kind::Refused,
            format!(
                "the key {key:?} is a {found}, not a {wanted}; choose the other mode, a prefix, or another topic"
            ),
        ),
        Failure::NotHandedBack => SubscribeError::new(
            Kind::Unavailable,
            "Redis did not answer in time; what was unsettled comes again when its time has run out",
        ),
    }
}

fn operation(error: &RedisError) -> SubscribeError {
    // A read that waits is told so in its own words.
    let deleted = error.code() == Some("NOGROUP")
        || (error.code() == Some("UNBLOCKED") && error.to_string().contains("no longer exists"));
    let (kind, text) = match (error.kind(), error.code()) {
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => {
            (Kind::Refused, format!("this user may not do that: {error}"))
        }
        (_, Some("WRONGTYPE")) => (Kind::Refused, format!("a key is in use for something else: {error}")),
        _ if deleted => (
            Kind::Missing,
            format!("the stream or its group was deleted; a new one begins with the first entry: {error}"),
        ),
        (_, Some("OOM")) => (Kind::Unavailable, format!("Redis is full: {error}")),
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => {
            (Kind::Unavailable, format!("Redis can't do that now: {error}"))
        }
        _ => (Kind::Unavailable, format!("the connection to Redis failed: {error}")),
    };
    SubscribeError::new(kind, text).with_source(error.clone())
}
