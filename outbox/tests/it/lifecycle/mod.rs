//! The outbox of an application: what each switch of the configuration does, how it starts, and how it ends.

#[path = "../../doubles/defective.rs"]
mod defective;
mod ends;
#[cfg(feature = "http")]
mod observed;
mod starts;
mod switches;

use std::sync::Arc;
use std::time::Duration;

use outbox::memory::{MemoryStore, MemoryTransport};
use outbox::relay::{MessageSink, SinkError, sink};
use outbox::{Config, OutboxAdmin, OutboxBuilder, OutboxMessage, Transport};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The surroundings of an application: its database and its broker.
#[derive(Default)]
struct World {
    store: MemoryStore,
    /// Held here, so that no application closes it for the next one.
    broker: Arc<MemoryTransport>,
}

impl World {
    /// An application with these variables in its environment.
    fn application(&self, variables: &[(&str, &str)]) -> OutboxBuilder {
        let broker: Arc<dyn Transport> = Arc::clone(&self.broker) as _;
        let builder = without_database(variables).transport(broker);
        builder.store(Arc::new(self.store.clone()))
    }

    /// Commits so many messages, without telling anybody.
    fn commit(&self, count: usize) {
        let messages: Vec<_> = (0..count).map(|_| message()).collect();
        self.store.enqueue_all(&messages);
    }

    /// Where a publisher stores.
    fn sink(&self) -> impl MessageSink + use<> {
        sink(self.store.clone(), write)
    }

    async fn delivered(&self, count: usize) {
        let delivered = tokio::time::timeout(PATIENCE, self.broker.wait_for(count)).await;
        assert!(delivered.is_ok(), "{} of {count} were delivered", self.broker.delivered().len());
    }

    /// Shards that somebody owns.
    async fn owned(&self) -> usize {
        let shards = self.store.stats(100).await.unwrap().shards;
        shards.iter().filter(|shard| shard.owner.is_some()).count()
    }
}

/// An application whose database and broker are what the variables say.
fn without_database(variables: &[(&str, &str)]) -> OutboxBuilder {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::sources().variables(variables).load().unwrap().outbox()
}

fn message() -> OutboxMessage {
    OutboxMessage::bytes("orders.placed", "7").unwrap().build().unwrap()
}

async fn write(store: &MemoryStore, messages: &[OutboxMessage]) -> Result<(), SinkError> {
    store.enqueue_all(messages);
    Ok(())
}

/// Lets everything run that has something to do and waits for nothing outside, in a runtime of one thread.
async fn all_that_can_run() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// Waits for something that has to happen.
async fn in_time<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, happens).await {
        Ok(happened) => happened,
        Err(_elapsed) => panic!("{what} within {PATIENCE:?}"),
    }
}

/// Intervals in which nobody finds anything by polling.
const NEVER_POLLS: [(&str, &str); 4] = [
    ("OUTBOX_RELAY_POLL_BUSY", "1h"),
    ("OUTBOX_RELAY_POLL_CALM", "1h"),
    ("OUTBOX_RELAY_POLL_IDLE", "1h"),
    ("OUTBOX_RELAY_BACKSTOP_INTERVAL", "1h"),
];
