use std::collections::HashMap;
use std::fmt;

use futures_util::future::BoxFuture;
use outbox_core::{Event, HandlerError, MessageHandler, OutboxMessage, Processed};

/// Hands each message to the handler of its type.
///
/// ```
/// # struct Placed; struct Bill; struct Refund;
/// # impl outbox_core::MessageHandler for Bill {
/// #     async fn handle(&self, _: &outbox_core::OutboxMessage)
/// #     -> Result<outbox_core::Processed, outbox_core::HandlerError> { Ok(outbox_core::Processed::Applied(())) }
/// # }
/// # impl outbox_core::MessageHandler for Refund {
/// #     async fn handle(&self, _: &outbox_core::OutboxMessage)
/// #     -> Result<outbox_core::Processed, outbox_core::HandlerError> { Ok(outbox_core::Processed::Applied(())) }
/// # }
/// use outbox_relay::{Router, UnknownType};
///
/// let router = Router::new()
///     .on_type("OrderPlaced", Bill)
///     .on_type("OrderCancelled", Refund)
///     .unknown(UnknownType::Skip);
/// ```
#[derive(Default)]
pub struct Router {
    handlers: HashMap<Box<str>, Box<dyn AnyHandler>>,
    unknown: UnknownType,
}

/// What becomes of a message of a type that has no handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnknownType {
    /// It goes to the dead letters. The default: nothing is lost in silence.
    #[default]
    DeadLetter,
    /// It is acknowledged, and counted.
    Skip,
    /// It is tried again like any failed message: another version of this program may know it soon.
    Retry,
}

impl Router {
    /// A router without handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The handler of an event. The last one for a type counts.
    #[must_use]
    pub fn on<E: Event>(self, handler: impl MessageHandler) -> Self {
        self.on_type(E::TYPE.unwrap_or(E::TOPIC), handler)
    }

    /// The handler of a type, see [`OutboxMessage::event_type`]. The last one for a type counts.
    #[must_use]
    pub fn on_type(mut self, event_type: impl Into<Box<str>>, handler: impl MessageHandler) -> Self {
        self.handlers.insert(event_type.into(), Box::new(handler));
        self
    }

    /// What becomes of all others.
    #[must_use]
    pub fn unknown(mut self, policy: UnknownType) -> Self {
        self.unknown = policy;
        self
    }
}

impl MessageHandler for Router {
    async fn handle(&self, message: &OutboxMessage) -> Result<Processed, HandlerError> {
        if let Some(handler) = self.handlers.get(message.event_type()) {
            return handler.handle_any(message).await;
        }
        let error = || format!("nobody handles messages of the type {:?}", message.event_type());
        match self.unknown {
            UnknownType::Skip => Ok(Processed::Skipped),
            UnknownType::Retry => Err(HandlerError::failed(error())),
            UnknownType::DeadLetter => Err(HandlerError::rejected(error())),
        }
    }
}

/// A handler of any type, with one allocation for each call.
trait AnyHandler: Send + Sync {
    fn handle_any<'m>(&'m self, message: &'m OutboxMessage)
    -> BoxFuture<'m, Result<Processed, HandlerError>>;
}

impl<H: MessageHandler> AnyHandler for H {
    fn handle_any<'m>(
        &'m self,
        message: &'m OutboxMessage,
    ) -> BoxFuture<'m, Result<Processed, HandlerError>> {
        Box::pin(self.handle(message))
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("types", &self.handlers.keys())
            .field("unknown", &self.unknown)
            .finish()
    }
}
