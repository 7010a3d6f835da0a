//! What is not even handed to the handler.

use std::time::{Duration, SystemTime};

use outbox_core::{OutboxMessage, Transport};
use outbox_relay::{ConsumerError, OldMessages};
use uuid::{NoContext, Timestamp, Uuid};

use super::harness::{TOPIC, World, until};

#[tokio::test(start_paused = true)]
async fn what_is_no_message_goes_to_the_dead_letters() {
    let world = World::default();
    let consumer = world.start();
    world.transport.publish_foreign(TOPIC, "who is this?");
    world.publish(&["ok"]).await;
    until(&consumer, |stats| stats.dead == 1 && stats.applied == 1).await;
    let (payload, reason) = world.reasons().remove(0);
    assert_eq!(payload, "who is this?");
    assert!(reason.starts_with("no message of an outbox: "), "{reason}");
    assert_eq!(consumer.shutdown().await.unwrap().undecodable, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_goes_to_the_dead_letters() {
    let world = World::default();
    let consumer = world.start_with(|config| config.max_payload = 4);
    world.publish(&["ok/1", "ok/12"]).await;
    until(&consumer, |stats| stats.dead == 1 && stats.applied == 1).await;
    assert_eq!(world.reasons()[0].1, "the payload has 5 bytes, at most 4 are allowed");
    drop(consumer);
}

/// A message whose id says that it was made so many days ago.
async fn publish_old(world: &World, days: u64) {
    let time = SystemTime::now() - Duration::from_secs(days * 86_400);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let id = Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos()));
    let message = OutboxMessage::bytes(TOPIC, format!("ok/{days}")).unwrap().id(id).build().unwrap();
    for published in world.transport.publish(&[message]).await {
        published.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_inbox_remembers_is_parked() {
    let world = World::default();
    let consumer = world.start();
    publish_old(&world, 8).await;
    publish_old(&world, 6).await;
    until(&consumer, |stats| stats.dead == 1 && stats.applied == 1).await;
    let (payload, reason) = world.reasons().remove(0);
    assert_eq!(payload, "ok/8");
    assert!(
        reason.starts_with("the message is 6912")
            && reason.ends_with(" s old and the inbox remembers 604800 s: it may have been handled before"),
        "{reason}"
    );
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn or_it_is_handled_and_counted() {
    let world = World::default();
    let consumer = world.start_with(|config| config.old_messages = OldMessages::Process);
    publish_old(&world, 8).await;
    until(&consumer, |stats| stats.applied == 1 && stats.too_old == 1).await;
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_configuration_is_refused() {
    let world = World { prefetch: Some(8), ..World::default() };
    let refused = |field: &str, expected: &str, change: fn(&mut outbox_relay::ConsumerConfig)| {
        let mut config = outbox_relay::ConsumerConfig::default();
        config.concurrency = 8;
        change(&mut config);
        let error = world.consumer().config(config).start().unwrap_err();
        assert!(matches!(&error, ConsumerError::Config { field: found, .. } if *found == field), "{error}");
        assert_eq!(error.to_string(), format!("consumer configuration: {field} is {expected}"));
    };
    refused("concurrency", "9, allowed are 1 to 8, the prefetch of the memory subscription", |config| {
        config.concurrency = 9;
    });
    refused("retry.max_attempts", "0, at least 1 is needed", |config| config.retry.max_attempts = 0);
    refused("handler_timeout", "0 s, it must be longer than that", |config| {
        config.handler_timeout = Duration::ZERO;
    });
    refused("retry.jitter", "2, a fraction from 0 to 1 is needed", |config| config.retry.jitter = 2.0);
}
