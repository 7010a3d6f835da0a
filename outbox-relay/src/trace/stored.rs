use std::time::SystemTime;

use outbox_core::OutboxMessage;
use tracing::{Level, Span};

use super::TraceParent;
use crate::metrics::Path;

/// Messages on their way to the outbox, because the broker could not take them at once.
#[derive(Debug)]
pub(crate) struct Storing {
    span: Span,
    begun_at: SystemTime,
    transport: &'static str,
}

impl Storing {
    pub(crate) fn begins(destination: &str, transport: &'static str, messages: usize) -> Self {
        let span = tracing::debug_span!(
            "store",
            destination,
            transport,
            path = Path::Fallback.as_str(),
            messages,
            stored = tracing::field::Empty,
        );
        Self { span, begun_at: SystemTime::now(), transport }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Tells the tracer what came of them: they are stored together, or none is.
    pub(crate) fn ended<'a>(self, messages: impl Iterator<Item = &'a OutboxMessage> + Clone, stored: bool) {
        self.span.record("stored", stored);
        if tracing::enabled!(Level::TRACE) {
            self.span.in_scope(|| messages.clone().for_each(|message| event(message, stored)));
        }
        #[cfg(feature = "opentelemetry")]
        super::spans::record_stored(self.begun_at, messages, stored, self.transport);
        #[cfg(not(feature = "opentelemetry"))]
        let _ = (self.begun_at, self.transport);
    }
}

fn event(message: &OutboxMessage, stored: bool) {
    tracing::trace!(
        id = %message.id(),
        topic = message.topic().as_str(),
        path = Path::Fallback.as_str(),
        traceparent = TraceParent::of(message).map(tracing::field::display),
        failure = (!stored).then_some("not stored"),
        "stored",
    );
}
