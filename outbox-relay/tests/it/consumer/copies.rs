//! What a broker gives to the same consumer once more, and how it is kept from doing so.

use std::sync::atomic::Ordering;
use std::time::Duration;

use outbox_core::OutboxMessage;
use tokio::time::Instant;

use super::harness::{TOPIC, World, until};
use super::scripted::Script;
use super::watched::Watched;

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

/// A connection that was lost brings it back, and is the only one that can settle it.
#[tokio::test(start_paused = true)]
async fn what_waits_goes_on_with_the_delivery_that_came_last() {
    for log in [false, true] {
        let world = World::default();
        let (script, subscription) = Script::new();
        let consumer = world.consumer_of(Box::new(subscription)).start().unwrap();
        let message = OutboxMessage::bytes(TOPIC, "fails 2").unwrap().build().unwrap();
        let deliver = |time: u32, name| match log {
            true => script.assigned(&message, time.into(), name),
            false => script.counted(&message, time, name),
        };
        deliver(1, "first");
        until(&consumer, |stats| stats.retried == 1).await;
        // It waits for its next try.
        deliver(2, "second");
        until(&consumer, |stats| stats.received == 2).await;
        assert_eq!(consumer.stats().waiting, 1);
        // It is being tried, and its try is being counted.
        world.counts.seconds.store(60, Ordering::Relaxed);
        until(&consumer, |stats| stats.failed == 2).await;
        deliver(3, "third");
        until(&consumer, |stats| stats.applied == 1).await;
        let stats = consumer.shutdown().await.unwrap();
        assert_eq!((stats.failed, stats.duplicates, stats.handed_back), (2, 0, 0));
        assert_eq!(script.settled(), [("third", "acknowledged")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_does_not_shorten_the_pauses_between_two_tries() {
    let world = World::default();
    let consumer = world.start();
    let begun = Instant::now();
    world.publish_copies("fails 3", &[None; 3]).await;
    until(&consumer, |stats| stats.applied == 1).await;
    // 5 s, 15 s and 1 min.
    assert!(begun.elapsed() >= Duration::from_secs(80), "{:?}", begun.elapsed());
    until(&consumer, |stats| stats.duplicates == 2).await;
    assert_eq!(world.seen.begun().len(), 6);
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn copies_of_what_waits_leave_room_for_others() {
    let world = World { prefetch: Some(4), ..World::default() };
    let consumer = world.start_with(|config| {
        config.concurrency = 4;
        config.retry.schedule = vec![Duration::from_secs(3_600)];
    });
    world.publish_copies("fails 2", &[None; 6]).await;
    world.publish(&["ok"]).await;
    let soon = tokio::time::timeout(Duration::from_secs(600), until(&consumer, |stats| stats.applied == 1));
    soon.await.expect("it is not behind those that wait for an hour");
    assert_eq!(world.seen.begun(), ["fails 2", "ok"]);
    until(&consumer, |stats| stats.duplicates == 5).await;
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn the_broker_is_told_of_a_message_whose_try_is_being_counted() {
    let world = World::default();
    world.counts.seconds.store(60, Ordering::Relaxed);
    let subscription = Watched::new(world.subscription()).redelivers_after(Duration::from_secs(30));
    let counted = subscription.counted();
    let consumer = world.consumer_of(Box::new(subscription)).start().unwrap();
    world.publish(&["fails 1/slowly"]).await;
    until(&consumer, |stats| stats.retried == 1).await;
    let told = counted.extended.load(Ordering::Relaxed);
    assert!((5..=6).contains(&told), "every 10 of 60 seconds: {told}");
    drop(consumer);
}
