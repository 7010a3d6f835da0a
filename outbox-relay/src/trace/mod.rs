//! Tracing: how a message came from its producer to its broker.
//!
//! The header `traceparent` of a message carries the trace of its producer (W3C Trace Context). It travels unchanged, so
//! a consumer can go on with it.
//!
//! * With `tracing` alone: one span per published batch at level `DEBUG` (`publish`, with destination, path and what came
//!   of it), and within it, at level `TRACE`, an event per message with its topic, its path and its trace. Looks that
//!   find nothing have neither span nor event. What a [`Publisher`](crate::Publisher) does stands in the span of its
//!   caller, and what it puts into the outbox because of the broker is a span `store`.
//! * With the feature `opentelemetry`: for each message whose producer's trace is sampled, spans in that trace, by the
//!   tracer provider that the process has set: `outbox publish` for each try, with its path (`outbox.path`); before it
//!   `outbox dwell`, from the row's time to the publish, if it was in the outbox; and `outbox store` if a publisher had to
//!   put it there. Messages without a trace, or with one that is not sampled, cost a look at their headers.

mod batch;
#[cfg(feature = "opentelemetry")]
mod context;
#[cfg(feature = "opentelemetry")]
mod spans;
mod stored;
mod traceparent;

pub(crate) use batch::{Published, span};
#[cfg(feature = "opentelemetry")]
pub use context::{context_of, current_traceparent};
pub(crate) use stored::Storing;
pub use traceparent::{TRACEPARENT, TraceParent};
