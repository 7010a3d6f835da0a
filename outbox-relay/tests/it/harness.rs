use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{MessageId, OutboxMessage, OutboxStore, PublishError, Transport, TransportCapabilities};
use outbox_memory::{MemoryStore, MemoryTransport};
use outbox_relay::{Relay, RelayHandle};

/// A message of a key; its payload is its number within the key.
pub(crate) fn keyed(key: &str, number: usize) -> OutboxMessage {
    OutboxMessage::bytes("orders", number.to_string()).unwrap().ordering_key(key).build().unwrap()
}

pub(crate) fn unkeyed(number: usize) -> OutboxMessage {
    OutboxMessage::bytes("orders", number.to_string()).unwrap().build().unwrap()
}

pub(crate) fn to_topic(topic: &str, key: &str, number: usize) -> OutboxMessage {
    OutboxMessage::bytes(topic, number.to_string()).unwrap().ordering_key(key).build().unwrap()
}

pub(crate) fn number(message: &OutboxMessage) -> usize {
    std::str::from_utf8(message.payload()).unwrap().parse().unwrap()
}

pub(crate) fn numbers(messages: &[OutboxMessage]) -> Vec<usize> {
    messages.iter().map(number).collect()
}

/// A broker that promises nothing about several messages of a key in one batch, as most do.
pub(crate) fn plain_broker() -> MemoryTransport {
    MemoryTransport::new().with_capabilities(TransportCapabilities::new("plain"))
}

/// One relay's connection to a broker that others use too: closing it does not close the broker.
pub(crate) struct Connection(pub(crate) MemoryTransport);

#[async_trait]
impl Transport for Connection {
    fn capabilities(&self) -> TransportCapabilities {
        self.0.capabilities()
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        self.0.publish(batch).await
    }

    async fn check(&self) -> Result<(), PublishError> {
        self.0.check().await
    }

    async fn reset(&self) {
        self.0.reset().await;
    }

    async fn close(&self, _timeout: Duration) -> Result<(), PublishError> {
        Ok(())
    }
}

pub(crate) async fn relay(store: &MemoryStore, broker: &MemoryTransport) -> RelayHandle {
    relay_on(Arc::new(store.clone()), Arc::new(Connection(broker.clone()))).await
}

pub(crate) async fn relay_on(store: Arc<dyn OutboxStore>, broker: Arc<dyn Transport>) -> RelayHandle {
    start(Relay::shared(store, broker)).await
}

pub(crate) async fn start(relay: Relay) -> RelayHandle {
    relay.seed(7).start().await.unwrap()
}

/// Waits until everything is delivered or dead.
pub(crate) async fn drained(relay: &RelayHandle) {
    tokio::time::timeout(Duration::from_secs(24 * 3600), relay.drained()).await.expect("it drains").unwrap();
}

/// Waits until the broker has accepted so many.
pub(crate) async fn arrived(broker: &MemoryTransport, count: usize) -> Vec<OutboxMessage> {
    let waiting = broker.wait_for(count);
    let arrived = tokio::time::timeout(Duration::from_secs(2 * 3600), waiting).await;
    arrived.unwrap_or_else(|_| panic!("{} arrived, not {count}", broker.delivered().len()))
}

/// Waits for a condition, in steps of a millisecond of paused time.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Each message exactly once.
pub(crate) fn assert_once(delivered: &[OutboxMessage], expected: &[OutboxMessage]) {
    let ids = |messages: &[OutboxMessage]| messages.iter().map(|m| *m.id()).collect::<Vec<MessageId>>();
    let (mut delivered, mut expected) = (ids(delivered), ids(expected));
    delivered.sort_unstable();
    expected.sort_unstable();
    assert_eq!(delivered, expected);
}

/// The first deliveries of each key are in the order of their numbers.
pub(crate) fn assert_in_order(delivered: &[OutboxMessage]) {
    in_order(delivered).unwrap();
}

pub(crate) fn in_order(delivered: &[OutboxMessage]) -> Result<(), String> {
    let mut last: HashMap<&str, usize> = HashMap::new();
    let mut seen = HashSet::new();
    for message in delivered {
        let Some(key) = message.ordering_key() else {
            continue;
        };
        if !seen.insert(*message.id()) {
            continue;
        }
        let number = number(message);
        if let Some(before) = last.insert(key.as_str(), number)
            && before >= number
        {
            return Err(format!("key {key}: {number} was first delivered after {before}"));
        }
    }
    Ok(())
}
