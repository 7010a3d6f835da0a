use std::time::SystemTime;

use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, global};
use outbox_core::{OutboxMessage, PublishError};

use super::TraceParent;
use super::batch::Published;
use crate::metrics::Path;

const TRACER: &str = "outbox";

/// Writes into the traces of the producers what a relay or a publisher has done with their messages.
pub(super) fn record(
    published: &Published,
    messages: &[OutboxMessage],
    results: &[Result<(), PublishError>],
    transport: &'static str,
) {
    let mut tracer = None;
    for (message, result) in messages.iter().zip(results) {
        let Some(producer) = producer_of(message) else {
            continue;
        };
        let tracer = tracer.get_or_insert_with(|| global::tracer(TRACER));
        let attributes = || attributes(message, published.path, transport);
        if let Some(since) = published.dwells_since(message) {
            let mut dwell = SpanBuilder::from_name("outbox dwell")
                .with_kind(SpanKind::Internal)
                .with_start_time(since)
                .with_attributes(attributes())
                .start_with_context(tracer, &producer);
            dwell.end_with_timestamp(published.sent_at);
        }
        let mut publish = SpanBuilder::from_name("outbox publish")
            .with_kind(SpanKind::Producer)
            .with_start_time(published.sent_at)
            .with_attributes(attributes())
            .start_with_context(tracer, &producer);
        if let Err(error) = result {
            publish.set_attribute(KeyValue::new("error.type", error.kind().as_str()));
            publish.set_status(Status::error(error.to_string()));
        }
        publish.end_with_timestamp(published.ended_at);
    }
}

/// Writes into the traces of the producers that their messages went to the outbox instead, or not even there.
pub(super) fn record_stored<'a>(
    begun_at: SystemTime,
    messages: impl Iterator<Item = &'a OutboxMessage>,
    stored: bool,
    transport: &'static str,
) {
    let ended_at = SystemTime::now();
    let mut tracer = None;
    for message in messages {
        let Some(producer) = producer_of(message) else {
            continue;
        };
        let tracer = tracer.get_or_insert_with(|| global::tracer(TRACER));
        let mut store = SpanBuilder::from_name("outbox store")
            .with_kind(SpanKind::Internal)
            .with_start_time(begun_at)
            .with_attributes(attributes(message, Path::Fallback, transport))
            .start_with_context(tracer, &producer);
        if !stored {
            store.set_status(Status::error("not stored"));
        }
        store.end_with_timestamp(ended_at);
    }
}

/// Where the producer was when it made the message; `None` if that is not recorded.
fn producer_of(message: &OutboxMessage) -> Option<Context> {
    let parent = TraceParent::of(message).filter(TraceParent::is_sampled)?;
    Some(Context::new().with_remote_span_context(parent.into()))
}

fn attributes(message: &OutboxMessage, path: Path, transport: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", transport),
        KeyValue::new("messaging.destination.name", message.topic().as_str().to_owned()),
        KeyValue::new("messaging.message.id", message.id().to_string()),
        KeyValue::new("outbox.path", path.as_str()),
    ]
}
