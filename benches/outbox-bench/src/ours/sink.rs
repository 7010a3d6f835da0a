use std::hint::black_box;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{OutboxMessage, PublishError, Transport, TransportCapabilities};

use crate::workload::BATCH;

/// What the broker promises about the order of a batch, and so how many messages of a key may be in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// All that there are: if one fails, no later one was accepted.
    Pipelined,
    /// One.
    OnePerKey,
}

impl Order {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pipelined => "pipelined order",
            Self::OnePerKey => "one in flight per key",
        }
    }
}

/// A broker that takes everything at once: what is left is the relay's own work and the database's.
#[derive(Debug)]
pub(super) struct Sink {
    order: Order,
}

impl Sink {
    pub(super) const fn new(order: Order) -> Self {
        Self { order }
    }
}

#[async_trait]
impl Transport for Sink {
    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::new("none")
            .pipelined_order(self.order == Order::Pipelined)
            .max_batch(BATCH)
            .max_in_flight(1_000_000)
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        black_box(batch).iter().map(|_| Ok(())).collect()
    }

    async fn check(&self) -> Result<(), PublishError> {
        Ok(())
    }

    async fn close(&self, _timeout: Duration) -> Result<(), PublishError> {
        Ok(())
    }
}
