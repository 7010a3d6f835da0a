use std::time::{Duration, SystemTime};

use outbox_core::{OutboxMessage, PublishError};
use tokio::time::Instant;
use tracing::{Level, Span};

use super::TraceParent;
use crate::metrics::Path;

/// The span of one call of a transport.
pub(crate) fn span(path: Path, destination: &str, transport: &'static str, messages: usize) -> Span {
    tracing::debug_span!(
        "publish",
        destination,
        transport,
        path = path.as_str(),
        messages,
        confirmed = tracing::field::Empty,
        failed = tracing::field::Empty,
    )
}

/// When a batch was handed over, and when its results were there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    pub(crate) path: Path,
    pub(crate) sent_at: SystemTime,
    pub(crate) ended_at: SystemTime,
    /// By the monotonic clock.
    pub(crate) took: Duration,
}

impl Published {
    /// Begins the measurement; the returned function ends it.
    pub(crate) fn begins(path: Path) -> impl FnOnce() -> Self {
        let (sent_at, sent) = (SystemTime::now(), Instant::now());
        move || Self { path, sent_at, ended_at: SystemTime::now(), took: sent.elapsed() }
    }

    /// Tells the tracer what came of each message.
    pub(crate) fn trace(
        &self,
        span: &Span,
        messages: &[OutboxMessage],
        results: &[Result<(), PublishError>],
        transport: &'static str,
    ) {
        if !span.is_disabled() {
            let confirmed = results.iter().filter(|result| result.is_ok()).count();
            span.record("confirmed", confirmed).record("failed", results.len() - confirmed);
        }
        if tracing::enabled!(Level::TRACE) {
            span.in_scope(|| {
                messages.iter().zip(results).for_each(|(message, result)| self.event(message, result));
            });
        }
        #[cfg(feature = "opentelemetry")]
        super::spans::record(self, messages, results, transport);
        #[cfg(not(feature = "opentelemetry"))]
        let _ = transport;
    }

    /// Since when the message was in the outbox. The row's time is the database's; where its clock is ahead, this can't be
    /// said.
    pub(super) fn dwells_since(&self, message: &OutboxMessage) -> Option<SystemTime> {
        message.created_at().filter(|created_at| self.path == Path::Relayed && *created_at <= self.sent_at)
    }

    fn event(&self, message: &OutboxMessage, result: &Result<(), PublishError>) {
        let traceparent = TraceParent::of(message).map(tracing::field::display);
        let failure = result.as_ref().err().map(|error| error.kind().as_str());
        let dwell = self.dwells_since(message).and_then(|since| self.sent_at.duration_since(since).ok());
        tracing::trace!(
            id = %message.id(),
            topic = message.topic().as_str(),
            path = self.path.as_str(),
            dwell = dwell.map(tracing::field::debug),
            traceparent,
            failure,
            "published",
        );
    }
}
