use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outbox_core::{OutboxMessage, PublishErrorKind};
use outbox_memory::{MemoryStore, Verdict};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::harness::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Fields = BTreeMap<&'static str, String>;

/// Keeps the spans and events of the relay, from a level on.
#[derive(Clone)]
struct Recording {
    most: Level,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    spans: Vec<(&'static str, Fields)>,
    events: Vec<Fields>,
}

impl Recording {
    fn new(most: Level) -> Self {
        Self { most, seen: Arc::default() }
    }

    fn spans(&self) -> Vec<(&'static str, Fields)> {
        self.seen.lock().unwrap().spans.clone()
    }

    fn published(&self) -> Vec<Fields> {
        let mut events = self.seen.lock().unwrap().events.clone();
        events.retain(|fields| fields.get("message").is_some_and(|message| message == "published"));
        events
    }
}

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Recording {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("outbox_relay") && *metadata.level() <= self.most
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        span.record(&mut Visitor(&mut fields));
        let spans = &mut self.seen.lock().unwrap().spans;
        spans.push((span.metadata().name(), fields));
        Id::from_u64(u64::try_from(spans.len()).unwrap())
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let place = usize::try_from(span.into_u64()).unwrap() - 1;
        values.record(&mut Visitor(&mut self.seen.lock().unwrap().spans[place].1));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Visitor(&mut fields));
        self.seen.lock().unwrap().events.push(fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn traced(number: usize) -> OutboxMessage {
    let message = OutboxMessage::bytes("orders", number.to_string()).unwrap();
    message.header("traceparent", PARENT).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_a_span_and_a_look_that_finds_nothing_is_none() {
    let recording = Recording::new(Level::TRACE);
    let _recording = tracing::subscriber::set_default(recording.clone());
    let store = MemoryStore::new();
    let broker = plain_broker().with_behaviour(|message, _| match number(message) {
        2 => Verdict::Fail(PublishErrorKind::Rejected),
        _ => Verdict::Accept,
    });
    let relay = relay(&store, &broker).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(relay.stats().reads > 100, "it has looked many times");
    assert_eq!(recording.spans(), []);

    store.enqueue_all(&[traced(0), unkeyed(1), unkeyed(2)]);
    drained(&relay).await;
    let spans = recording.spans();
    let [(name, fields)] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(*name, "publish");
    let field = |name| fields.get(name).map(String::as_str);
    assert_eq!((field("destination"), field("transport")), (Some("plain"), Some("plain")));
    assert_eq!((field("messages"), field("confirmed"), field("failed")), (Some("3"), Some("2"), Some("1")));
    assert_eq!(field("path"), Some("relayed"));

    let published = recording.published();
    assert_eq!(published.len(), 3);
    assert!(published.iter().all(|fields| fields["path"] == "relayed" && fields["topic"] == "orders"));
    assert_eq!(published[0].get("traceparent").map(String::as_str), Some(PARENT));
    assert_eq!(published[1].get("traceparent"), None);
    assert_eq!(published[2].get("failure").map(String::as_str), Some("rejected"));
}

#[tokio::test(start_paused = true)]
async fn messages_are_not_told_one_by_one_unless_that_is_asked_for() {
    let recording = Recording::new(Level::DEBUG);
    let _recording = tracing::subscriber::set_default(recording.clone());
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    store.enqueue_all(&(0..100).map(traced).collect::<Vec<_>>());
    drained(&relay).await;
    assert_eq!(recording.published().len(), 0);
    assert_eq!(recording.spans().len(), usize::try_from(broker.publishes()).unwrap());
}
