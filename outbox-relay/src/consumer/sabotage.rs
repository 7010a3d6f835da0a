//! What is left of a delivery that was acknowledged before it was handled: a defect on purpose.

use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Receipt, SubscribeError};

pub(super) struct Nothing;

#[async_trait]
impl Receipt for Nothing {
    async fn ack(self: Box<Self>) -> Result<(), SubscribeError> {
        Ok(())
    }

    async fn nack(self: Box<Self>, _: Duration) -> Result<(), SubscribeError> {
        Ok(())
    }

    async fn dead_letter(self: Box<Self>, _: &str) -> Result<(), SubscribeError> {
        Ok(())
    }
}
