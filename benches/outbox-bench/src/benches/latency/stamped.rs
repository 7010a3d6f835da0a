use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{OutboxMessage, PublishError, Transport, TransportCapabilities};

use super::clock::now;

/// The number of a message, which its payload begins with.
pub(super) fn number(message: &OutboxMessage) -> u32 {
    let bytes = message.payload().get(..4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(u32::MAX, u32::from_le_bytes)
}

/// When a message was published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) number: u32,
    pub(super) at: i64,
}

/// A transport that says when: at the call where there is no broker, else at its acknowledgement.
pub(super) struct Stamped<F> {
    broker: Option<Arc<dyn Transport>>,
    arrived: F,
}

impl<F: Fn(&[Arrival]) + Send + Sync> Stamped<F> {
    pub(super) const fn new(broker: Option<Arc<dyn Transport>>, arrived: F) -> Self {
        Self { broker, arrived }
    }
}

#[async_trait]
impl<F: Fn(&[Arrival]) + Send + Sync + 'static> Transport for Stamped<F> {
    fn capabilities(&self) -> TransportCapabilities {
        match &self.broker {
            Some(broker) => broker.capabilities(),
            None => TransportCapabilities::new("none").max_batch(1_000).max_in_flight(1_000_000),
        }
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        let results = match &self.broker {
            Some(broker) => broker.publish(batch).await,
            None => batch.iter().map(|_| Ok(())).collect(),
        };
        let at = now();
        let confirmed = batch.iter().zip(&results).filter(|(_, result)| result.is_ok());
        let arrivals: Vec<_> =
            confirmed.map(|(message, _)| Arrival { number: number(message), at }).collect();
        (self.arrived)(&arrivals);
        results
    }

    async fn check(&self) -> Result<(), PublishError> {
        match &self.broker {
            Some(broker) => broker.check().await,
            None => Ok(()),
        }
    }

    async fn reset(&self) {
        if let Some(broker) = &self.broker {
            broker.reset().await;
        }
    }

    async fn close(&self, timeout: Duration) -> Result<(), PublishError> {
        match &self.broker {
            Some(broker) => broker.close(timeout).await,
            None => Ok(()),
        }
    }
}
