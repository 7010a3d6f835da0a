use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, global};
use outbox_core::{OutboxMessage, PublishError};

use super::TraceParent;
use super::batch::Published;
use crate::metrics::Path;

/// Writes into the traces of the producers what the relay has done with their messages.
pub(super) fn record(
    published: &Published,
    messages: &[OutboxMessage],
    results: &[Result<(), PublishError>],
    transport: &'static str,
) {
    let mut tracer = None;
    for (message, result) in messages.iter().zip(results) {
        let Some(parent) = TraceParent::of(message).filter(TraceParent::is_sampled) else {
            continue;
        };
        let tracer = tracer.get_or_insert_with(|| global::tracer("outbox"));
        let producer = Context::new().with_remote_span_context(parent.into());
        let attributes = || {
            vec![
                KeyValue::new("messaging.system", transport),
                KeyValue::new("messaging.destination.name", message.topic().as_str().to_owned()),
                KeyValue::new("messaging.message.id", message.id().to_string()),
                KeyValue::new("outbox.path", Path::Relayed.as_str()),
            ]
        };
        // A row's time is the database's: where its clock is ahead, there is no dwell to show.
        if let Some(created_at) = message.created_at().filter(|created_at| *created_at < published.sent_at) {
            let mut dwell = SpanBuilder::from_name("outbox dwell")
                .with_kind(SpanKind::Internal)
                .with_start_time(created_at)
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
