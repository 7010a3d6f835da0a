use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use outbox_core::{OutboxMessage, PublishErrorKind};
use outbox_memory::{MemoryStore, Verdict};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Instrument as _, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::harness::*;
use crate::publisher::desk::direct_first;

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
    spans: Vec<Recorded>,
    events: Vec<Fields>,
}

struct Recorded {
    id: Id,
    name: &'static str,
    parent: Option<&'static str>,
    fields: Fields,
}

impl Recording {
    fn new(most: Level) -> Self {
        Self { most, seen: Arc::default() }
    }

    fn listen(&self) -> DefaultGuard {
        // As long as there is just one subscriber, a place in the code that a thread without any comes to first counts as
        // of no interest to all, and the other tests have none.
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Registry::default()));
        LazyLock::force(&SECOND);
        tracing::subscriber::set_default(Registry::default().with(self.clone()))
    }

    fn spans(&self) -> Vec<(&'static str, Fields)> {
        let seen = self.seen.lock().unwrap();
        seen.spans.iter().map(|span| (span.name, span.fields.clone())).collect()
    }

    /// The spans of a name that were made within the span of another.
    fn spans_within(&self, outer: &str, name: &str) -> Vec<Fields> {
        let seen = self.seen.lock().unwrap();
        let wanted = seen.spans.iter().filter(|span| span.name == name && span.parent == Some(outer));
        wanted.map(|span| span.fields.clone()).collect()
    }

    fn published(&self) -> Vec<Fields> {
        self.events("published")
    }

    fn events(&self, text: &str) -> Vec<Fields> {
        let mut events = self.seen.lock().unwrap().events.clone();
        events.retain(|fields| fields.get("message").is_some_and(|message| message == text));
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

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recording {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("outbox_relay") && *metadata.level() <= self.most
    }

    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        span.record(&mut Visitor(&mut fields));
        let parent = context.span(id).unwrap().parent().map(|parent| parent.name());
        let recorded = Recorded { id: id.clone(), name: span.metadata().name(), parent, fields };
        self.seen.lock().unwrap().spans.push(recorded);
    }

    fn on_record(&self, span: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut seen = self.seen.lock().unwrap();
        // Numbers are used again: it is the last of them.
        let recorded = seen.spans.iter_mut().rfind(|recorded| recorded.id == *span).unwrap();
        values.record(&mut Visitor(&mut recorded.fields));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Visitor(&mut fields));
        self.seen.lock().unwrap().events.push(fields);
    }
}

fn traced(number: usize) -> OutboxMessage {
    let message = OutboxMessage::bytes("orders", number.to_string()).unwrap();
    message.header("traceparent", PARENT).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_a_span_and_a_look_that_finds_nothing_is_none() {
    let recording = Recording::new(Level::TRACE);
    let _recording = recording.listen();
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
    let _recording = recording.listen();
    let store = MemoryStore::new();
    let broker = plain_broker();
    let relay = relay(&store, &broker).await;
    store.enqueue_all(&(0..100).map(traced).collect::<Vec<_>>());
    drained(&relay).await;
    assert_eq!(recording.published().len(), 0);
    assert_eq!(recording.spans().len(), usize::try_from(broker.publishes()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_publisher_tells_which_way_each_message_took_in_the_span_of_its_caller() {
    let recording = Recording::new(Level::TRACE);
    let _recording = recording.listen();
    let (store, broker) = (MemoryStore::new(), plain_broker());
    let publisher = direct_first(&store, &broker).build().unwrap();
    let request = || tracing::info_span!(target: "outbox_relay_test", "request");
    publisher.publish(&traced(0)).instrument(request()).await.unwrap();
    broker.down();
    publisher.publish(&traced(1)).instrument(request()).await.unwrap();
    // Known to be away: it is not tried.
    publisher.publish_all(&[traced(2), unkeyed(3)]).instrument(request()).await;
    let delayed = OutboxMessage::bytes("orders", "4").unwrap().delay(Duration::from_secs(9)).build().unwrap();
    publisher.publish(&delayed).instrument(request()).await.unwrap();

    let outcomes = |name: &str, fields: [&str; 3]| {
        let spans = recording.spans_within("request", name);
        let of = |span: &Fields| fields.map(|field| span.get(field).cloned().unwrap_or_default());
        spans.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(
        outcomes("publish", ["path", "confirmed", "failed"]),
        [["direct", "1", "0"], ["direct", "0", "1"]]
    );
    assert_eq!(
        outcomes("store", ["path", "messages", "stored"]),
        [["fallback", "1", "true"], ["fallback", "2", "true"]]
    );
    let tries = recording.published();
    let field = |event: &Fields, name: &str| event.get(name).cloned();
    assert_eq!(tries.len(), 2);
    assert!(tries.iter().all(|event| event["path"] == "direct" && event["traceparent"] == PARENT));
    assert_eq!((field(&tries[0], "failure"), field(&tries[0], "dwell")), (None, None));
    assert_eq!(field(&tries[1], "failure").as_deref(), Some("unavailable"));
    let stored = recording.events("stored");
    assert_eq!(stored.len(), 3);
    assert!(stored.iter().all(|event| event["path"] == "fallback"));
    let traces: Vec<_> = stored.iter().map(|event| field(event, "traceparent")).collect();
    assert_eq!(traces, [Some(PARENT.to_owned()), Some(PARENT.to_owned()), None]);
}
