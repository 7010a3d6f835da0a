//! With the feature `opentelemetry`: what stands in the trace of a producer.

use opentelemetry::trace::{SpanId, SpanKind, Status, TraceContextExt, TraceId, Tracer, TracerProvider};
use opentelemetry::{Context, global};
use opentelemetry_sdk::trace::{InMemorySpanExporterBuilder, SdkTracerProvider, SpanData};
use outbox_core::{OutboxMessage, PublishErrorKind};
use outbox_memory::{MemoryStore, Verdict};
use outbox_relay::trace::{TRACEPARENT, context_of, current_traceparent};

use crate::harness::*;
use crate::publisher::desk::direct_first;

// One test: the tracer provider is one for the process.
#[tokio::test(start_paused = true)]
async fn producer_dwell_publish_and_consumer_are_one_trace() {
    let exporter = InMemorySpanExporterBuilder::new().build();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    global::set_tracer_provider(provider.clone());
    let tracer = provider.tracer("test");

    // The producer writes within its span.
    assert_eq!(current_traceparent(), None);
    let span = tracer.start("place order");
    let producer = Context::new().with_span(span);
    let parent = {
        let _current = producer.clone().attach();
        current_traceparent().unwrap()
    };
    let (trace, parent_id) = (TraceId::from(parent.trace_id()), SpanId::from(parent.span_id()));
    let message = |number: usize, parent: &str| {
        let message = OutboxMessage::bytes("orders", number.to_string()).unwrap();
        message.header(TRACEPARENT, parent).build().unwrap()
    };
    let not_sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let text = parent.to_string();
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(|message, _| match number(message) {
        1 => Verdict::Fail(PublishErrorKind::Rejected),
        _ => Verdict::Accept,
    });
    store.enqueue_all(&[message(0, &text), message(1, &text), message(2, not_sampled), unkeyed(3)]);
    let relay = relay(&store, &broker).await;
    drained(&relay).await;

    // The consumer goes on with what it has received.
    let received = broker.delivered();
    let first = received.iter().find(|message| number(message) == 0).unwrap();
    let context = context_of(first).unwrap();
    assert_eq!(context.span().span_context().trace_id(), trace);
    drop(tracer.start_with_context("bill order", &context));

    let spans = exporter.get_finished_spans().unwrap();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).cloned().collect::<Vec<_>>();
    let publishes = named("outbox publish");
    assert_eq!(publishes.len(), 2, "not the one that is not sampled, nor the one without a trace: {spans:?}");
    for publish in &publishes {
        assert_eq!((publish.span_context.trace_id(), publish.parent_span_id), (trace, parent_id));
        assert_eq!(publish.span_kind, SpanKind::Producer);
        assert!(publish.start_time <= publish.end_time);
        let attribute = |name: &str| publish.attributes.iter().find(|found| found.key.as_str() == name);
        assert_eq!(attribute("messaging.destination.name").unwrap().value.as_str(), "orders");
        assert_eq!(attribute("outbox.path").unwrap().value.as_str(), "relayed");
    }
    let failed: Vec<_> = publishes.iter().filter(|publish| publish.status != Status::Unset).collect();
    assert_eq!(failed.len(), 1);
    for dwell in named("outbox dwell") {
        assert_eq!((dwell.span_context.trace_id(), dwell.parent_span_id), (trace, parent_id));
        assert!(publishes.iter().any(|publish| publish.start_time == dwell.end_time));
    }
    assert_eq!(named("outbox dwell").len(), 2);
    assert_eq!(named("bill order")[0].span_context.trace_id(), trace);

    // What a publisher does stands in the same trace. The copy that is away goes by the outbox.
    exporter.reset();
    let publisher = direct_first(&store, &broker).build().unwrap();
    publisher.publish(&message(4, &text)).await.unwrap();
    broker.down();
    publisher.publish(&message(5, &text)).await.unwrap();
    publisher.publish(&message(6, not_sampled)).await.unwrap();
    broker.up();
    drained(&relay).await;
    let spans = exporter.get_finished_spans().unwrap();
    assert!(
        spans.iter().all(|span| (span.span_context.trace_id(), span.parent_span_id) == (trace, parent_id))
    );
    let path = |span: &SpanData| {
        let found = span.attributes.iter().find(|found| found.key.as_str() == "outbox.path");
        found.unwrap().value.as_str().into_owned()
    };
    let told: Vec<_> =
        spans.iter().map(|span| (&*span.name, path(span), span.status == Status::Unset)).collect();
    let told: Vec<_> = told.iter().map(|(name, path, well)| (*name, path.as_str(), *well)).collect();
    // The relay, too, may have tried while the broker was away.
    let (direct, rest) = told.split_at(3);
    assert_eq!(
        direct,
        [
            ("outbox publish", "direct", true),
            ("outbox publish", "direct", false),
            ("outbox store", "fallback", true)
        ]
    );
    assert!(
        rest.ends_with(&[("outbox dwell", "relayed", true), ("outbox publish", "relayed", true)]),
        "{rest:?}"
    );
}
