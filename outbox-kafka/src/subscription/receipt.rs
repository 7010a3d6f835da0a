use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Receipt, SubscribeError};

use super::dead_letters::DeadLetters;
use super::held::{Held, Shared};

/// A delivery that is out.
pub(crate) struct KafkaReceipt {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dead_letters: Arc<DeadLetters>,
    /// `None` when it is settled.
    pub(crate) held: Option<Held>,
    pub(crate) redeliver_after: Duration,
}

#[async_trait]
impl Receipt for KafkaReceipt {
    async fn ack(mut self: Box<Self>) -> Result<(), SubscribeError> {
        self.held.take().map_or(Ok(()), |held| self.shared.settle(&held))
    }

    async fn nack(mut self: Box<Self>, delay: Duration) -> Result<(), SubscribeError> {
        self.held.take().map_or(Ok(()), |held| self.shared.again(held, delay))
    }

    async fn dead_letter(mut self: Box<Self>, reason: &str) -> Result<(), SubscribeError> {
        // It stays in its place until it is there: a call that is dropped meanwhile must not lose it.
        if let Some(held) = &self.held {
            self.shared.owns(held)?;
            self.dead_letters.publish(&held.record, reason).await?;
        }
        self.held.take().map_or(Ok(()), |held| self.shared.settle(&held))
    }

    async fn extend(&mut self) -> Result<(), SubscribeError> {
        self.held.as_ref().map_or(Ok(()), |held| self.shared.owns(held))
    }
}

impl Drop for KafkaReceipt {
    /// It comes again as if its member had vanished. A partition that is not ours any more does that by itself.
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let _ = self.shared.again(held, self.redeliver_after);
        }
    }
}
