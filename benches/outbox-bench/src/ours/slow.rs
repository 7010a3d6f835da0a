use std::hint::black_box;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{OutboxMessage, PublishError, Transport, TransportCapabilities};

/// A broker that confirms what it is sent after a while, however much that is: far away, not overloaded.
#[derive(Debug)]
pub(crate) struct Slow {
    pause: Duration,
    capabilities: TransportCapabilities,
}

impl Slow {
    /// With at most so many messages under way, in four calls, and one of each key.
    pub(crate) const fn new(pause: Duration, window: usize) -> Self {
        let capabilities =
            TransportCapabilities::new("slow").max_batch(window.div_ceil(4)).max_in_flight(window);
        Self { pause, capabilities }
    }

    /// With as many messages of a key under way as there are.
    pub(crate) fn pipelined(self) -> Self {
        Self { capabilities: self.capabilities.pipelined_order(true), ..self }
    }

    /// Has the client give up early, for relays whose leases are short.
    pub(crate) fn max_send_time(self, time: Duration) -> Self {
        Self { capabilities: self.capabilities.max_send_time(time), ..self }
    }
}

#[async_trait]
impl Transport for Slow {
    fn capabilities(&self) -> TransportCapabilities {
        self.capabilities.clone()
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        tokio::time::sleep(self.pause).await;
        black_box(batch).iter().map(|_| Ok(())).collect()
    }

    async fn check(&self) -> Result<(), PublishError> {
        Ok(())
    }

    async fn close(&self, _timeout: Duration) -> Result<(), PublishError> {
        Ok(())
    }
}
