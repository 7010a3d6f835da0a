use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::Subject;
use async_nats::jetstream::AckKind;
use async_trait::async_trait;
use outbox_core::{Receipt, SubscribeError};

use super::shared::Shared;

/// The way back to the broker for one delivery. It is not bound to the connection by which the delivery came: a late
/// settlement harms nobody, and spares a second delivery.
pub(crate) struct NatsReceipt {
    shared: Arc<Shared>,
    serial: u64,
    reply: Subject,
    /// For the dead letters, as it came.
    message: Message,
}

impl NatsReceipt {
    pub(crate) fn new(shared: Arc<Shared>, serial: u64, reply: Subject, message: Message) -> Self {
        Self { shared, serial, reply, message }
    }

    async fn settle(&self, kind: AckKind) -> Result<(), SubscribeError> {
        self.shared.settle(&self.reply, kind).await?;
        self.shared.inbound.forget(self.serial);
        Ok(())
    }
}

#[async_trait]
impl Receipt for NatsReceipt {
    async fn ack(self: Box<Self>) -> Result<(), SubscribeError> {
        self.settle(AckKind::Ack).await
    }

    async fn nack(self: Box<Self>, delay: Duration) -> Result<(), SubscribeError> {
        self.settle(AckKind::Nak((!delay.is_zero()).then_some(delay))).await
    }

    async fn dead_letter(self: Box<Self>, reason: &str) -> Result<(), SubscribeError> {
        self.shared.bury(&self.message, &self.reply, reason).await?;
        // Not an acknowledgement: the server tells those who watch the stream that it was given up.
        self.settle(AckKind::Term).await
    }

    async fn extend(&mut self) -> Result<(), SubscribeError> {
        self.shared.settle(&self.reply, AckKind::Progress).await?;
        self.shared.inbound.extend(self.serial);
        Ok(())
    }
}

impl Drop for NatsReceipt {
    fn drop(&mut self) {
        self.shared.inbound.drop_held(self.serial);
    }
}
