mod group;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    BrokerConfigError, DecodeError, Delivery, Receipt, SubscribeError, SubscribeErrorKind, SubscribeOptions,
    Subscription, SubscriptionCapabilities, Undecodable,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use group::Member;
pub use group::MemoryDeadLetter;
pub(crate) use group::{Body, Group};

/// Receives what is published to a [`MemoryTransport`](crate::MemoryTransport), made by
/// [`MemoryTransport::subscription`](crate::MemoryTransport::subscription).
///
/// A group exists from its first member on, and keeps for the next one what nobody settled.
#[derive(Debug)]
pub struct MemorySubscription {
    member: Arc<Member>,
    room: Arc<Semaphore>,
    prefetch: usize,
    closed: bool,
}

impl MemorySubscription {
    pub(crate) fn member_of(group: Arc<Group>, options: SubscribeOptions) -> Result<Self, BrokerConfigError> {
        let options = options.checked("memory")?;
        group.read(&options);
        Ok(Self {
            member: Arc::new(Member::of(group)),
            room: Arc::new(Semaphore::new(options.prefetch)),
            prefetch: options.prefetch,
            closed: false,
        })
    }

    fn open(&self) -> Result<(), SubscribeError> {
        if self.closed {
            return Err(SubscribeError::new(SubscribeErrorKind::Closed, "the subscription is closed"));
        }
        Ok(())
    }
}

#[async_trait]
impl Subscription for MemorySubscription {
    fn capabilities(&self) -> SubscriptionCapabilities {
        SubscriptionCapabilities::new("memory").counts_deliveries(true).prefetch(self.prefetch)
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        self.open()?;
        let closed = |_| SubscribeError::new(SubscribeErrorKind::Closed, "the subscription is closed");
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(closed)?;
        let item = self.member.group.take().await;
        let (place, attempt) = (item.place, item.attempt);
        let message = match &item.body {
            Body::Message(message) => Ok(message.clone()),
            Body::Foreign { topic, payload } => Err(Undecodable {
                topic: topic.clone(),
                error: DecodeError::MissingId { header: "id" },
                payload: payload.clone(),
            }),
        };
        self.member.hold(item);
        let receipt = MemoryReceipt { member: Arc::clone(&self.member), place, _room: room };
        Ok(Delivery::new(message, Some(attempt), Box::new(receipt)))
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        self.open()
    }

    async fn close(&mut self, _timeout: Duration) -> Result<(), SubscribeError> {
        self.closed = true;
        self.member.end();
        Ok(())
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        self.member.end();
    }
}

struct MemoryReceipt {
    member: Arc<Member>,
    place: u64,
    /// Given back when the receipt is gone.
    _room: OwnedSemaphorePermit,
}

impl MemoryReceipt {
    fn item(&self) -> Result<group::Item, SubscribeError> {
        let stale = "the delivery went back to its group when the subscription was closed";
        let item = self.member.release(self.place);
        item.ok_or_else(|| SubscribeError::new(SubscribeErrorKind::Stale, stale))
    }
}

#[async_trait]
impl Receipt for MemoryReceipt {
    async fn ack(self: Box<Self>) -> Result<(), SubscribeError> {
        self.item()?;
        self.member.group.settled();
        Ok(())
    }

    async fn nack(self: Box<Self>, delay: Duration) -> Result<(), SubscribeError> {
        let item = self.item()?;
        self.member.group.put_back(item, delay);
        Ok(())
    }

    async fn dead_letter(self: Box<Self>, reason: &str) -> Result<(), SubscribeError> {
        let item = self.item()?;
        self.member.group.bury(item, reason);
        Ok(())
    }
}
