//! What a broker gives to the same consumer once more, and how it is kept from doing so.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::harness::{World, until};
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
