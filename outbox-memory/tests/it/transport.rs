use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_conformance::transport_suite::{Received, TransportFixture};
use outbox_core::{Transport, TransportCapabilities};
use outbox_memory::MemoryTransport;

/// Promises everything that the broker in memory can keep.
struct MemoryFixture(MemoryTransport);

const MOST: usize = 1_500_000;

#[async_trait]
impl TransportFixture for MemoryFixture {
    async fn new() -> Option<Self> {
        let capabilities = TransportCapabilities::new("memory")
            .pipelined_order(true)
            .max_payload(Some(MOST))
            .dedup_window(Some(Duration::from_secs(60)));
        Some(Self(MemoryTransport::new().with_capabilities(capabilities)))
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.0.clone())
    }

    fn topic(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn read_back(&self, topic: &str) -> Vec<Received> {
        let delivered = self.0.delivered();
        delivered.iter().filter(|message| message.topic().as_str() == topic).map(Received::from).collect()
    }

    fn oversized(&self) -> Option<usize> {
        Some(MOST + 1)
    }
}

outbox_conformance::transport_suite!(MemoryFixture);
