//! What the cases share: publishing to the fixture's topic and waiting for deliveries.

use std::time::Duration;

use outbox_core::{
    Delivery, MessageBuilder, OutboxMessage, SubscribeErrorKind, SubscribeOptions, Subscription, Topic,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::SubscriptionFixture;

/// How long a delivery may take to arrive, a broker's own time for a vanished member included.
pub(super) const PATIENCE: Duration = Duration::from_secs(45);

/// For how long nothing must arrive where nothing may: the one thing that can't be waited for.
pub(super) const SILENCE: Duration = Duration::from_millis(1500);

pub(super) fn options<F: SubscriptionFixture>(fixture: &F, group: &str) -> SubscribeOptions {
    let mut options = SubscribeOptions::new(group, [Topic::new(fixture.topic()).unwrap()]);
    options.redeliver_after = Duration::from_secs(3);
    options
}

pub(super) async fn member<F: SubscriptionFixture>(fixture: &F, group: &str) -> Box<dyn Subscription> {
    fixture.subscribe(options(fixture, group)).await
}

pub(super) fn message<F: SubscriptionFixture>(fixture: &F, payload: impl Into<String>) -> MessageBuilder {
    OutboxMessage::bytes(fixture.topic(), payload.into()).unwrap()
}

/// Messages without a key, `m0` to `m<count - 1>`.
pub(super) fn messages<F: SubscriptionFixture>(fixture: &F, count: usize) -> Vec<OutboxMessage> {
    (0..count).map(|n| message(fixture, format!("m{n}")).build().unwrap()).collect()
}

/// The next delivery. A broker that is away for a moment is waited for.
pub(super) async fn next(member: &mut dyn Subscription) -> Delivery {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match timeout_at(deadline, member.next()).await.expect("no delivery in time") {
            Ok(delivery) => return delivery,
            Err(error) => {
                let passes =
                    matches!(error.kind(), SubscribeErrorKind::Unavailable | SubscribeErrorKind::Missing);
                assert!(passes, "{error}");
            }
        }
    }
}

/// Acknowledges so many deliveries, and returns their messages in the order of their arrival.
pub(super) async fn take(member: &mut dyn Subscription, count: usize) -> Vec<OutboxMessage> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        let delivery = next(member).await;
        taken.push(delivery.message().unwrap().clone());
        delivery.ack().await.unwrap();
    }
    taken
}

/// Acknowledges deliveries until each of these ids was there. What came twice stands there twice.
pub(super) async fn take_all(member: &mut dyn Subscription, wanted: &[OutboxMessage]) -> Vec<OutboxMessage> {
    let mut missing = ids(wanted);
    let mut taken = Vec::new();
    while !missing.is_empty() {
        let delivery = next(member).await;
        let message = delivery.message().unwrap().clone();
        // Where the broker was just away, it may have come by the connection that is gone; then it comes again.
        if delivery.ack().await.is_ok() {
            missing.retain(|id| *id != message.id().to_string());
            taken.push(message);
        }
    }
    taken
}

/// Nothing arrives.
pub(super) async fn silent(member: &mut dyn Subscription) {
    if let Ok(arrived) = timeout(SILENCE, member.next()).await {
        panic!("nothing was to arrive, and there is {arrived:?}");
    }
}

pub(super) fn ids(messages: &[OutboxMessage]) -> Vec<String> {
    messages.iter().map(|message| message.id().to_string()).collect()
}

pub(super) fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

pub(super) async fn close(mut member: Box<dyn Subscription>) {
    member.close(Duration::from_secs(20)).await.unwrap();
}
