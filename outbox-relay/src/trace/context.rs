use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use outbox_core::OutboxMessage;

use super::TraceParent;

/// The context of OpenTelemetry that is current here, as the header [`super::TRACEPARENT`] of a message that is written
/// now; `None` outside of a span.
///
/// ```
/// # use outbox_core::OutboxMessage;
/// # use outbox_relay::trace::{TRACEPARENT, current_traceparent};
/// # fn message() -> Result<OutboxMessage, outbox_core::MessageError> {
/// let mut message = OutboxMessage::bytes("orders.placed", "…")?;
/// if let Some(parent) = current_traceparent() {
///     message = message.header(TRACEPARENT, parent.to_string());
/// }
/// message.build()
/// # }
/// # message().unwrap();
/// ```
#[must_use]
pub fn current_traceparent() -> Option<TraceParent> {
    let context = Context::current();
    let span = context.span().span_context().clone();
    let trace = u128::from_be_bytes(span.trace_id().to_bytes());
    TraceParent::new(trace, u64::from_be_bytes(span.span_id().to_bytes()), span.is_sampled())
}

/// The context of a message's producer, as the parent of a consumer's span; `None` if the message carries no trace.
#[must_use]
pub fn context_of(message: &OutboxMessage) -> Option<Context> {
    TraceParent::of(message).map(|parent| Context::new().with_remote_span_context(parent.into()))
}

impl From<TraceParent> for SpanContext {
    fn from(parent: TraceParent) -> Self {
        let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let trace = TraceId::from_bytes(parent.trace_id().to_be_bytes());
        let span = SpanId::from_bytes(parent.span_id().to_be_bytes());
        Self::new(trace, span, flags, true, TraceState::default())
    }
}
