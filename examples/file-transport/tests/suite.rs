//! The transport passes the suite, and a relay delivers through it.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use file_transport::{FileTransport, MAX_PAYLOAD};
use outbox_conformance::transport_suite::{Received, TransportFixture};
use outbox_core::{Envelope, EnvelopeNames, Incoming, OutboxMessage, Severity, Transport};
use outbox_memory::MemoryStore;
use outbox_relay::Relay;
use serde_json::Value;
use tempfile::TempDir;

struct FileFixture {
    folder: TempDir,
    transport: Arc<FileTransport>,
}

#[async_trait]
impl TransportFixture for FileFixture {
    async fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let transport = Arc::new(FileTransport::new(folder.path()));
        Some(Self { folder, transport })
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport) as _
    }

    fn topic(&self, name: &str) -> String {
        create(self.folder.path(), name);
        name.to_owned()
    }

    async fn read_back(&self, topic: &str) -> Vec<Received> {
        read(self.folder.path(), topic)
    }

    fn unroutable_topic(&self) -> Option<String> {
        Some("missing".to_owned())
    }

    async fn make_routable(&self, topic: &str) {
        create(self.folder.path(), topic);
    }

    fn oversized(&self) -> Option<usize> {
        Some(MAX_PAYLOAD + 1)
    }
}

outbox_conformance::transport_suite!(FileFixture);

fn create(folder: &Path, topic: &str) {
    File::options().create(true).append(true).open(folder.join(format!("{topic}.jsonl"))).unwrap();
}

/// As a program would that knows nothing of the adapter.
fn read(folder: &Path, topic: &str) -> Vec<Received> {
    let text = std::fs::read_to_string(folder.join(format!("{topic}.jsonl"))).unwrap();
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let payload = BASE64_STANDARD.decode(line["payload"].as_str().unwrap()).unwrap();
        let mut incoming = Incoming::new(topic, Bytes::from(payload));
        incoming.ordering_key = line["key"].as_str();
        let headers = line["headers"].as_object().unwrap();
        let text = |value: &Value| Cow::Owned(value.as_str().unwrap().to_owned());
        incoming.headers =
            headers.iter().map(|(name, value)| (Cow::Borrowed(&**name), text(value))).collect();
        Received::from(&Envelope::new(EnvelopeNames::HYPHEN).read(incoming).unwrap())
    };
    text.lines().map(read).collect()
}

#[tokio::test]
async fn a_relay_delivers_through_it() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path(), "orders.placed");
    let store = MemoryStore::new();
    let message = |n: u32| {
        let message = OutboxMessage::json("orders.placed", &n).unwrap();
        message.ordering_key("order-7").build().unwrap()
    };
    let messages: Vec<_> = (0..20).map(message).collect();
    store.enqueue_all(&messages);
    let relay = Relay::new(store, FileTransport::new(folder.path())).start().await.unwrap();
    relay.drained().await.unwrap();
    relay.shutdown().await.unwrap();
    let expected: Vec<_> = messages.iter().map(Received::from).collect();
    assert_eq!(read(folder.path(), "orders.placed"), expected);
}

#[tokio::test]
async fn a_diagnosis_names_the_topic_that_has_no_file() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path(), "there");
    let topics = ["there", "missing"].map(|name| name.parse().unwrap());
    let found = FileTransport::new(folder.path()).diagnose(&topics).await;
    let severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Ok, Severity::Ok, Severity::Error]);
    assert!(found[2].subject.contains("missing"), "{:?}", found[2]);
    let gone = FileTransport::new(folder.path().join("nowhere"));
    assert_eq!(gone.diagnose(&[]).await[0].severity, Severity::Error);
}

/// The page shows the code that is tested, and no other. `OUTBOX_UPDATE_DOCS=1` writes it.
#[test]
fn the_page_has_this_code() {
    const END: &str = "```\n";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("../../docs/adapters.md");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let suite = read("tests/suite.rs");
    let (start, end) = ("struct FileFixture", "transport_suite!(FileFixture);\n");
    let fixture = &suite[suite.find(start).unwrap()..suite.find(end).unwrap() + end.len()];
    let page = std::fs::read_to_string(&path).unwrap();
    let mut expected = page.clone();
    for (file, code) in [("src/lib.rs", read("src/lib.rs").as_str()), ("tests/suite.rs", fixture)] {
        let begin = format!("<!-- examples/file-transport/{file} -->\n```rust,ignore\n");
        let at = expected.find(&begin).unwrap_or_else(|| panic!("{begin}")) + begin.len();
        let length = expected[at..].find(END).unwrap();
        expected.replace_range(at..at + length, code);
    }
    if std::env::var("OUTBOX_UPDATE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert!(page == expected, "docs/adapters.md shows other code; OUTBOX_UPDATE_DOCS=1 writes it");
    }
}
