//! A subscription that counts what the consumer does with its deliveries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Delivery, Receipt, SubscribeError, SubscribeErrorKind, Subscription, SubscriptionCapabilities,
};

/// When comes again what could not be moved to the dead letters.
const BURY_PAUSE: Duration = Duration::from_secs(5);

/// What was counted.
#[derive(Default)]
pub(super) struct Counted {
    /// Deliveries without an end when the subscription was closed.
    pub(super) open_at_close: AtomicUsize,
    /// How often the broker was told that a delivery is still wanted.
    pub(super) extended: AtomicUsize,
    /// Dead letters to come that can't be written.
    pub(super) unburied: AtomicUsize,
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
        let (attempt, source) = (delivery.attempt(), delivery.source().cloned());
        let (message, inner) = delivery.into_parts();
        let (counted, open) = (self.counted(), Arc::clone(&self.open));
        let delivery =
            Delivery::new(message, attempt, Box::new(WatchedReceipt { inner, counted, _open: open }));
        Ok(source.into_iter().fold(delivery, Delivery::from_source))
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
        let fewer = |left: usize| left.checked_sub(1);
        if self.counted.unburied.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok() {
            self.inner.nack(BURY_PAUSE).await?;
            return Err(SubscribeError::new(SubscribeErrorKind::Missing, "there is no such queue"));
        }
        self.inner.dead_letter(reason).await
    }

    async fn extend(&mut self) -> Result<(), SubscribeError> {
        self.counted.extended.fetch_add(1, Ordering::Relaxed);
        self.inner.extend().await
    }
}
