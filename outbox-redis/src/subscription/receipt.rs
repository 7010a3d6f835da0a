use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Receipt, SubscribeError};
use tokio::sync::OwnedSemaphorePermit;

use super::error::{Failure, subscribe_error};
use super::shared::Shared;
use super::source::Token;

pub(super) struct RedisReceipt {
    shared: Arc<Shared>,
    token: Token,
    /// Given back when the receipt is gone.
    _place: OwnedSemaphorePermit,
}

impl RedisReceipt {
    pub(super) fn new(shared: Arc<Shared>, token: Token, place: OwnedSemaphorePermit) -> Self {
        Self { shared, token, _place: place }
    }
}

fn ours(still: bool) -> Result<(), SubscribeError> {
    if still { Ok(()) } else { Err(subscribe_error(Failure::Stale)) }
}

#[async_trait]
impl Receipt for RedisReceipt {
    async fn ack(self: Box<Self>) -> Result<(), SubscribeError> {
        let (source, token) = (&self.shared.source, &self.token);
        ours(self.shared.with(async |mut client| source.ack(&mut client, token).await).await?)
    }

    async fn nack(self: Box<Self>, delay: Duration) -> Result<(), SubscribeError> {
        let Self { shared, token, _place } = *self;
        shared.hand_back(token, delay);
        Ok(())
    }

    async fn dead_letter(self: Box<Self>, reason: &str) -> Result<(), SubscribeError> {
        let (source, token) = (&self.shared.source, &self.token);
        ours(self.shared.with(async |mut client| source.bury(&mut client, token, reason).await).await?)
    }

    async fn extend(&mut self) -> Result<(), SubscribeError> {
        let (source, token) = (&self.shared.source, &self.token);
        ours(self.shared.with(async |mut client| source.extend(&mut client, token).await).await?)
    }
}
