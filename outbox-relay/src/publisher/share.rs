use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Finding, OutboxMessage, PublishError, Topic, Transport, TransportCapabilities};

/// The relay's share of a transport that publishes directly, too: the rest of what may be under way.
pub(super) struct Share {
    transport: Arc<dyn Transport>,
    in_flight: usize,
}

impl Share {
    pub(super) fn of(transport: &Arc<dyn Transport>, in_flight: usize) -> Self {
        Self { transport: Arc::clone(transport), in_flight }
    }
}

#[async_trait]
impl Transport for Share {
    fn capabilities(&self) -> TransportCapabilities {
        let all = self.transport.capabilities();
        let most = all.max_batch.min(self.in_flight);
        all.max_batch(most).max_in_flight(self.in_flight)
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        self.transport.publish(batch).await
    }

    async fn check(&self) -> Result<(), PublishError> {
        self.transport.check().await
    }

    async fn diagnose(&self, topics: &[Topic]) -> Vec<Finding> {
        self.transport.diagnose(topics).await
    }

    async fn reset(&self) {
        self.transport.reset().await;
    }

    async fn close(&self, timeout: Duration) -> Result<(), PublishError> {
        // Mostly the publisher goes on.
        if Arc::strong_count(&self.transport) == 1 { self.transport.close(timeout).await } else { Ok(()) }
    }
}
