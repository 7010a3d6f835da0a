use std::sync::Arc;

use outbox_core::{OutboxMessage, OutboxWriter};
use outbox_memory::{MemoryStore, MemoryTransport, MemoryWriter};
use outbox_relay::{PublishPath, Publisher, PublisherBuilder, PublisherError, RelayHandle, SinkError, sink};

use crate::harness::{Connection, start};

pub(crate) type Published = Result<PublishPath, PublisherError>;

/// A short transaction, as with any other database.
pub(crate) async fn write(store: &MemoryStore, messages: &[OutboxMessage]) -> Result<(), SinkError> {
    let mut transaction = store.begin();
    MemoryWriter.enqueue_all(&mut transaction, messages).await?;
    transaction.commit();
    Ok(())
}

pub(crate) fn direct_first(store: &MemoryStore, broker: &MemoryTransport) -> PublisherBuilder {
    let transport = Arc::new(Connection(broker.clone()));
    Publisher::direct_first(transport, sink(store.clone(), write), Arc::new(store.clone()))
}

/// A publisher, and a relay beside it that it wakes.
pub(crate) async fn with_relay(store: &MemoryStore, broker: &MemoryTransport) -> (Publisher, RelayHandle) {
    let publisher = direct_first(store, broker).build().unwrap();
    let relay = start(publisher.relay().unwrap()).await;
    let waker = relay.waker();
    publisher.wakes(move || waker.wake());
    (publisher, relay)
}

pub(crate) fn direct(published: &Published) -> bool {
    matches!(published, Ok(PublishPath::Direct))
}

pub(crate) fn fallback(published: &Published) -> bool {
    matches!(published, Ok(PublishPath::Fallback))
}
