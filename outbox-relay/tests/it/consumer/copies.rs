//! What a broker gives to the same consumer once more, and how it is kept from doing so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Delivery, Receipt, SubscribeError, Subscription, SubscriptionCapabilities};

use super::harness::{World, until};

#[tokio::test(start_paused = true)]
async fn copies_of_a_message_are_tried_one_after_the_other() {
    let world = World::default();
    let consumer = world.start();
    world.publish_copies("waits/once", &[None; 3]).await;
    until(&consumer, |stats| stats.received == 3 && stats.waiting == 2).await;
    world.publish(&["ok/another"]).await;
    until(&consumer, |stats| stats.applied == 1).await;
    assert_eq!(world.seen.begun(), ["waits/once", "ok/another"]);
    world.seen.open();
    until(&consumer, |stats| stats.duplicates == 2).await;
    assert_eq!(world.seen.most_running.load(Ordering::Relaxed), 2, "another message does not wait for it");
    let stats = consumer.shutdown().await.unwrap();
    assert_eq!((stats.applied, stats.waiting), (2, 0));
}

/// Two messages with one id are a mistake of whoever made them, and nobody else suffers from it.
#[tokio::test(start_paused = true)]
async fn the_key_of_a_copy_goes_on_after_it() {
    let world = World::default();
    let consumer = world.start();
    world.publish_copies("waits/once", &[Some("a"), Some("b")]).await;
    world.publish(&["ok/a2@a", "ok/b2@b"]).await;
    until(&consumer, |stats| stats.received == 4).await;
    world.seen.open();
    let all = until(&consumer, |stats| stats.applied == 3 && stats.duplicates == 1);
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("a key stands still");
    consumer.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_broker_is_told_of_a_message_whose_try_is_being_counted() {
    let world = World::default();
    world.counts.seconds.store(60, Ordering::Relaxed);
    let told = Arc::<AtomicUsize>::default();
    let subscription = Impatient { inner: world.subscription(), told: Arc::clone(&told) };
    let consumer = world.consumer_of(Box::new(subscription)).start().unwrap();
    world.publish(&["fails 1/slowly"]).await;
    until(&consumer, |stats| stats.retried == 1).await;
    let told = told.load(Ordering::Relaxed);
    assert!((5..=6).contains(&told), "every 10 of 60 seconds: {told}");
    drop(consumer);
}

/// Gives a message to somebody else if it hears nothing of it for 30 seconds.
struct Impatient {
    inner: Box<dyn Subscription>,
    told: Arc<AtomicUsize>,
}

struct Told {
    inner: Box<dyn Receipt>,
    told: Arc<AtomicUsize>,
}

#[async_trait]
impl Subscription for Impatient {
    fn capabilities(&self) -> SubscriptionCapabilities {
        self.inner.capabilities().redeliver_after(Some(Duration::from_secs(30)))
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        let delivery = self.inner.next().await?;
        let attempt = delivery.attempt();
        let (message, inner) = delivery.into_parts();
        Ok(Delivery::new(message, attempt, Box::new(Told { inner, told: Arc::clone(&self.told) })))
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        self.inner.check().await
    }

    async fn close(&mut self, timeout: Duration) -> Result<(), SubscribeError> {
        self.inner.close(timeout).await
    }
}

#[async_trait]
impl Receipt for Told {
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
        self.told.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
