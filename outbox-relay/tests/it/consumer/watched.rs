//! A subscription that counts what the consumer does with its deliveries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Delivery, Receipt, SubscribeError, Subscription, SubscriptionCapabilities};

/// What was counted.
#[derive(Default)]
pub(super) struct Counted {
    /// Deliveries without an end when the subscription was closed.
    pub(super) open_at_close: AtomicUsize,
    /// How often the broker was told that a delivery is still wanted.
    pub(super) extended: AtomicUsize,
}

pub(super) struct Watched {
    inner: Box<dyn Subscription>,
    capabilities: SubscriptionCapabilities,
    counted: Arc<Counted>,
    open: Arc<()>,
}

impl Watched {
    pub(super) fn new(inner: Box<dyn Subscription>) -> Self {
        let capabilities = inner.capabilities();
        Self { inner, capabilities, counted: Arc::default(), open: Arc::default() }
    }

    /// It gives a message to somebody else if it hears nothing of it for so long.
    pub(super) fn redelivers_after(mut self, time: Duration) -> Self {
        self.capabilities = self.capabilities.redeliver_after(Some(time));
        self
    }

    pub(super) fn counted(&self) -> Arc<Counted> {
        Arc::clone(&self.counted)
    }
}

struct WatchedReceipt {
    inner: Box<dyn Receipt>,
    counted: Arc<Counted>,
    _open: Arc<()>,
}

#[async_trait]
impl Subscription for Watched {
    fn capabilities(&self) -> SubscriptionCapabilities {
        self.capabilities.clone()
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        let delivery = self.inner.next().await?;
        let attempt = delivery.attempt();
        let (message, inner) = delivery.into_parts();
        let (counted, open) = (self.counted(), Arc::clone(&self.open));
        Ok(Delivery::new(message, attempt, Box::new(WatchedReceipt { inner, counted, _open: open })))
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        self.inner.check().await
    }

    async fn close(&mut self, timeout: Duration) -> Result<(), SubscribeError> {
        self.counted.open_at_close.store(Arc::strong_count(&self.open) - 1, Ordering::Relaxed);
        self.inner.close(timeout).await
    }
}

#[async_trait]
impl Receipt for WatchedReceipt {
    async fn ack(self: Box<Self>) -> Result<(), SubscribeError> {
        self.inner.ack().await
    }

    async fn nack(self: Box<Self>, delay: Duration) -> Result<(), SubscribeError> {
        self.inner.nack(delay).await
    }

    async fn dead_letter(self: Box<Self>, reason: &str) -> Result<(), SubscribeError> {
        self.inner.dead_letter(reason).await
    }

    async fn extend(&mut self) -> Result<(), SubscribeError> {
        self.counted.extended.fetch_add(1, Ordering::Relaxed);
        self.inner.extend().await
    }
}
