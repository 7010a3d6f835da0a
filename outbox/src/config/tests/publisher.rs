use std::sync::{Arc, Mutex};

use outbox_core::OutboxMessage;
use outbox_relay::{PublishPath, Publisher, SinkError, sink};

use super::from_file;

type Stored = Arc<Mutex<Vec<OutboxMessage>>>;

async fn write(stored: &Stored, messages: &[OutboxMessage]) -> Result<(), SinkError> {
    stored.lock().unwrap().extend_from_slice(messages);
    Ok(())
}

async fn publisher(toml: &str) -> (Publisher, Stored) {
    let stored = Stored::default();
    let config = from_file(toml).unwrap();
    (config.publisher(sink(Arc::clone(&stored), write)).await.unwrap(), stored)
}

#[tokio::test]
#[cfg(all(feature = "memory", feature = "sqlx-sqlite"))]
async fn the_mode_decides_and_the_calls_are_the_same() {
    let message = OutboxMessage::bytes("orders", "7").unwrap().build().unwrap();
    let urls = "store.url = 'sqlite:x.db'\ntransport.url = 'memory:'\n";
    for (mode, path) in [
        ("mode = 'transactional'", PublishPath::Stored),
        ("mode = 'direct_first'", PublishPath::Direct),
        ("mode = 'direct'", PublishPath::Direct),
        ("mode = 'direct_first'\nenabled = false", PublishPath::Direct),
    ] {
        let (publisher, stored) = publisher(&format!("{mode}\n{urls}")).await;
        assert_eq!(publisher.publish(&message).await.unwrap(), path, "{mode}");
        assert_eq!(stored.lock().unwrap().len(), usize::from(path == PublishPath::Stored), "{mode}");
        let shares = mode == "mode = 'direct_first'";
        assert_eq!(publisher.relay().is_some(), shares, "{mode}");
    }
}

#[tokio::test]
async fn each_mode_asks_for_no_more_than_it_needs() {
    let (publisher, _) = publisher("").await;
    assert!(publisher.relay().is_none(), "transactional needs no URL, only the sink");
    let (publisher, _) = publisher_without_an_outbox().await;
    let message = OutboxMessage::bytes("orders", "7").unwrap().build().unwrap();
    assert_eq!(publisher.publish(&message).await.unwrap(), PublishPath::Direct);
    let missing = from_file("mode = 'direct_first'\ntransport.url = 'stdout:'").unwrap();
    let error = missing.publisher(sink(Stored::default(), write)).await.unwrap_err();
    assert!(error.to_string().starts_with("no store URL"), "{error}");
}

async fn publisher_without_an_outbox() -> (Publisher, Stored) {
    publisher("enabled = false\ntransport.url = 'stdout:'").await
}

#[tokio::test]
#[cfg(all(feature = "memory", feature = "sqlx-sqlite"))]
async fn a_time_out_that_is_too_short_is_named() {
    let toml = "mode = 'direct'\ntransport.url = 'memory:'\nrelay.publish_timeout = '5s'";
    let error = from_file(toml).unwrap().publisher(sink(Stored::default(), write)).await.unwrap_err();
    let expected = "publisher configuration: publish_timeout is 5s, it must be longer than the longest send of the memory \
                    client (5s)";
    assert_eq!(error.to_string(), expected);
}
