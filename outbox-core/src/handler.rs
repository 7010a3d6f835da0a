use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::{BoxError, EventError, OutboxMessage, Processed};

/// What a consumer does with each message: a type of yours that has what it needs, or [`handler`] and a function.
///
/// # Contract
///
/// Between a handler and the consumer that calls it:
///
/// * The same message may come again, also while an earlier call for it is still running elsewhere. An inbox is what makes
///   its effects happen once; a handler without one has effects that may happen twice.
/// * [`Processed::Applied`] and [`Processed::Duplicate`] mean that the effects are committed: the message is acknowledged.
/// * A panic is a failed try, like an error.
///
/// # Cancel safety
///
/// The future may be dropped, by a time limit or at the end of a shutdown. A transaction in it must be rolled back then.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of messages",
    note = "implement `MessageHandler` for it, or pass `handler(state, async |state, message| {{ … }})`"
)]
pub trait MessageHandler: Send + Sync + 'static {
    /// Handles one message.
    fn handle(&self, message: &OutboxMessage)
    -> impl Future<Output = Result<Processed, HandlerError>> + Send;
}

/// A handler from what it needs and an `async` function of that and the message.
///
/// A closure that owned what it needs could only be called once at a time, so what it needs is passed to it.
///
/// ```
/// use outbox_core::{HandlerError, MessageHandler, OutboxMessage, Processed, handler};
///
/// struct Billing {
///     account: String,
/// }
///
/// async fn bill(billing: &Billing, message: &OutboxMessage) -> Result<Processed, HandlerError> {
///     println!("{} pays for {}", billing.account, message.id());
///     Ok(Processed::Applied(()))
/// }
///
/// fn consume(handler: impl MessageHandler) {}
/// consume(handler(Billing { account: "acme".to_owned() }, bill));
/// ```
pub fn handler<S, F>(state: S, work: F) -> StatefulHandler<S, F>
where
    S: Send + Sync + 'static,
    for<'s, 'm> F: AsyncFn(&'s S, &'m OutboxMessage) -> Result<Processed, HandlerError>
        + HandlerWork<&'s S, &'m OutboxMessage, Result<Processed, HandlerError>, Fut: Send>
        + Send
        + Sync
        + 'static,
{
    StatefulHandler { state, work }
}

/// A handler made by [`handler`].
#[derive(Debug, Clone)]
pub struct StatefulHandler<S, F> {
    state: S,
    work: F,
}

impl<S, F> MessageHandler for StatefulHandler<S, F>
where
    S: Send + Sync + 'static,
    for<'s, 'm> F: AsyncFn(&'s S, &'m OutboxMessage) -> Result<Processed, HandlerError>
        + HandlerWork<&'s S, &'m OutboxMessage, Result<Processed, HandlerError>, Fut: Send>
        + Send
        + Sync
        + 'static,
{
    async fn handle(&self, message: &OutboxMessage) -> Result<Processed, HandlerError> {
        (self.work)(&self.state, message).await
    }
}

/// The function of [`handler`]. Implemented for every `async` function and closure of two parameters that can be called
/// again, and whose future is known to be `Send`; not meant to be implemented by hand.
pub trait HandlerWork<S, M, R>: AsyncFn(S, M) -> R + Fn(S, M) -> <Self as HandlerWork<S, M, R>>::Fut {
    /// The future, so that a bound can ask for `Send`.
    type Fut: Future<Output = R>;
}

impl<F, S, M, R, Fut> HandlerWork<S, M, R> for F
where
    F: AsyncFn(S, M) -> R + Fn(S, M) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// Why a message could not be handled, and what is to become of it. Every error becomes one by `?`: a failure, after which
/// the message is tried again.
///
/// It is no [`Error`] itself, as `anyhow::Error` is none, so that `?` can take any.
pub struct HandlerError {
    kind: HandlerErrorKind,
    error: BoxError,
}

/// What is to become of a message that could not be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandlerErrorKind {
    /// It is tried again, as often as the consumer's policy says, and then goes to the dead letters.
    Failed,
    /// Another try would end the same: it goes to the dead letters at once.
    Rejected,
    /// Something that the handler needs is away, and it is not the message's fault: it is tried again after this time,
    /// and no try is counted.
    Unavailable {
        /// The pause.
        retry_after: Duration,
    },
}

impl HandlerError {
    /// Another try would end the same.
    pub fn rejected(error: impl Into<BoxError>) -> Self {
        Self { kind: HandlerErrorKind::Rejected, error: error.into() }
    }

    /// A failed try.
    pub fn failed(error: impl Into<BoxError>) -> Self {
        Self { kind: HandlerErrorKind::Failed, error: error.into() }
    }

    /// Something that the handler needs is away.
    pub fn unavailable(retry_after: Duration, error: impl Into<BoxError>) -> Self {
        Self { kind: HandlerErrorKind::Unavailable { retry_after }, error: error.into() }
    }

    /// What is to become of the message.
    #[must_use]
    pub const fn kind(&self) -> HandlerErrorKind {
        self.kind
    }

    /// What happened, and what caused it, in one line.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut reason = self.error.to_string();
        let mut next = self.error.source();
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors repeat the text of their source.
            if !reason.ends_with(&text) {
                reason = format!("{reason}: {text}");
            }
            next = error.source();
        }
        reason
    }
}

impl<E: Into<BoxError>> From<E> for HandlerError {
    /// An [`EventError`] is rejected, since another try reads the same; every other error is a failure. So is a newer
    /// schema: another version of this program may know it soon.
    fn from(error: E) -> Self {
        let error = error.into();
        match error.downcast_ref::<EventError>() {
            None | Some(EventError::NewerVersion { .. }) => Self::failed(error),
            Some(_) => Self::rejected(error),
        }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError").field("kind", &self.kind).field("error", &self.error).finish()
    }
}

/// An error whose causes can be looked through: every [`Error`], and [`HandlerError`].
pub trait AsError {
    /// The error.
    fn as_error(&self) -> &(dyn Error + 'static);
}

impl<E: Error + 'static> AsError for E {
    fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl AsError for HandlerError {
    fn as_error(&self) -> &(dyn Error + 'static) {
        &*self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessageError;

    #[derive(Debug, thiserror::Error)]
    #[error("the invoice was not written")]
    struct NotWritten(#[source] std::io::Error);

    #[test]
    fn the_reason_has_all_causes_once() {
        let error = HandlerError::from(NotWritten(std::io::Error::other("disk full")));
        assert_eq!(error.reason(), "the invoice was not written: disk full");
        assert_eq!(error.kind(), HandlerErrorKind::Failed);
        assert!(error.as_error().is::<NotWritten>());
    }

    #[test]
    fn what_can_not_be_read_is_rejected() {
        let error = EventError::TooLarge { actual: 2, limit: 1 };
        assert_eq!(HandlerError::from(error).kind(), HandlerErrorKind::Rejected);
        let newer = EventError::NewerVersion { event_type: "Placed".to_owned(), found: 2, known: 1 };
        assert_eq!(HandlerError::from(newer).kind(), HandlerErrorKind::Failed);
    }

    #[test]
    fn any_error_becomes_one() {
        fn fails() -> Result<(), HandlerError> {
            Err(MessageError::Empty { field: "topic".into() })?
        }
        assert_eq!(fails().unwrap_err().reason(), "topic is empty");
        assert_eq!(HandlerError::from("no such order").reason(), "no such order");
    }
}
