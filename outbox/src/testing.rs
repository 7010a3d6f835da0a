//! For tests of handlers: a consumer over a broker that lives in the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outbox_core::{
    ConsumerName, MessageError, MessageHandler, OutboxMessage, PublishError, SubscribeOptions, Transport,
};
use outbox_memory::{MemoryDeadLetter, MemoryTransport};
use outbox_relay::{Consumer, ConsumerConfig, ConsumerError, ConsumerHandle, ConsumerStats};

/// A real consumer with a handler of yours, over a broker in memory, without pauses between the tries of a message.
///
/// ```
/// use outbox::testing::TestConsumer;
/// use outbox::{HandlerError, OutboxMessage, Processed, handler};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bill = handler((), async |(): &(), message: &OutboxMessage| {
///     if message.payload().is_empty() {
///         return Err(HandlerError::rejected("an empty order"));
///     }
///     Ok(Processed::Applied(()))
/// });
/// let consumer = TestConsumer::start("billing", bill)?;
/// consumer.deliver(&OutboxMessage::bytes("orders.placed", "7")?.build()?).await?;
/// consumer.deliver(&OutboxMessage::bytes("orders.placed", "")?.build()?).await?;
///
/// let stats = consumer.drained().await;
/// assert_eq!((stats.applied, stats.dead), (1, 1));
/// assert_eq!(consumer.dead_letters()[0].reason, "an empty order");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestConsumer {
    transport: MemoryTransport,
    consumer: ConsumerHandle,
    group: String,
    delivered: AtomicU64,
}

/// Why a test consumer did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestConsumerError {
    /// The name of the consumer is wrong.
    #[error(transparent)]
    Name(#[from] MessageError),
    /// The configuration is wrong.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The topic of a message can't be read by the group.
    #[error(transparent)]
    Subscription(#[from] outbox_core::BrokerConfigError),
    /// The broker in memory refuses a message.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl TestConsumer {
    /// Starts a consumer with this name. It reads every topic that a message is delivered to.
    ///
    /// # Errors
    ///
    /// [`TestConsumerError`] if the name is wrong.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio.
    pub fn start(name: &str, handler: impl MessageHandler) -> Result<Self, TestConsumerError> {
        Self::start_with(name, handler, |_| {})
    }

    /// The same with another configuration. As long as nothing else is said there are no pauses between the tries, so that
    /// a test need not wait.
    ///
    /// # Errors
    ///
    /// [`TestConsumerError`] if the name or the configuration is wrong.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio.
    pub fn start_with(
        name: &str,
        handler: impl MessageHandler,
        change: impl FnOnce(&mut ConsumerConfig),
    ) -> Result<Self, TestConsumerError> {
        let (transport, group) = (MemoryTransport::new(), "test".to_owned());
        let any = outbox_core::Topic::new("outbox.test")?;
        let subscription = transport.subscription(SubscribeOptions::new(&group, [any]))?;
        let consumer = Consumer::new(ConsumerName::new(name)?, subscription, handler)
            .configure(|config| {
                config.retry.schedule = vec![Duration::ZERO];
                config.busy_pause = Duration::from_millis(1);
            })
            .configure(change)
            .start()?;
        Ok(Self { transport, consumer, group, delivered: AtomicU64::new(0) })
    }

    /// Delivers a message; twice, if it is called twice.
    ///
    /// # Errors
    ///
    /// [`TestConsumerError`] if its topic is the one of the dead letters, `test.dead`.
    pub async fn deliver(&self, message: &OutboxMessage) -> Result<(), TestConsumerError> {
        // A member that is gone at once leaves its topic to the group.
        drop(self.transport.subscription(SubscribeOptions::new(&self.group, [message.topic().clone()]))?);
        for published in self.transport.publish(std::slice::from_ref(message)).await {
            published?;
        }
        self.delivered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until every message that was delivered is acknowledged or given up, and returns the figures. There is no
    /// time-out, so put one around it where a handler may hang.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn drained(&self) -> ConsumerStats {
        self.transport.drained(&self.group).await;
        // What is settled last is counted in the next moment.
        loop {
            let stats = self.consumer.stats();
            let settled = stats.applied + stats.duplicates + stats.skipped + stats.dead;
            if settled >= self.delivered.load(Ordering::Relaxed) {
                return stats;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What was given up, and why.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<MemoryDeadLetter> {
        self.transport.dead_letters(&self.group)
    }

    /// The consumer itself: its figures, pauses.
    pub const fn consumer(&self) -> &ConsumerHandle {
        &self.consumer
    }
}
