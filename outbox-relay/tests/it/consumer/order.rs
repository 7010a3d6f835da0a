//! Which messages are handled at once, and which one after the other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use outbox_relay::Order;

use super::harness::{World, until};

fn of_key<'a>(done: &'a [String], key: &str) -> Vec<&'a str> {
    done.iter().filter(|payload| payload.contains(key)).map(String::as_str).collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_is_handled_one_after_the_other_and_keys_at_once() {
    let world = World::default();
    let consumer = world.start_with(|config| config.concurrency = 4);
    world.publish(&["waits/a1@a", "waits/a2@a", "waits/b1@b", "waits/1", "waits/2", "waits/3"]).await;
    world.seen.until(|seen| seen.begun().len() == 4).await;
    until(&consumer, |stats| stats.received == 6).await;
    assert_eq!(world.seen.begun(), ["waits/a1", "waits/b1", "waits/1", "waits/2"]);
    world.seen.open();
    until(&consumer, |stats| stats.applied == 6).await;
    assert_eq!(of_key(&world.seen.done(), "/a"), ["waits/a1", "waits/a2"]);
    assert_eq!(world.seen.most_running.load(Ordering::Relaxed), 4);
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn nothing_overtakes_a_message_of_its_key_that_waits_for_its_next_try() {
    let world = World::default();
    let consumer = world.start();
    world.publish(&["fails 2/a1@a", "ok/a2@a", "ok/b1@b", "fails 1/a3@a", "ok/a4@a"]).await;
    until(&consumer, |stats| stats.applied == 5).await;
    let done = world.seen.done();
    assert_eq!(of_key(&done, "/a"), ["fails 2/a1", "ok/a2", "fails 1/a3", "ok/a4"]);
    assert_eq!(done[0], "ok/b1", "another key does not wait");
    assert_eq!(consumer.shutdown().await.unwrap().handed_back, 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_goes_on_after_a_message_that_was_given_up() {
    let world = World::default();
    let consumer = world.start();
    world.publish(&["panics/a1@a", "rejects/a2@a", "ok/a3@a"]).await;
    until(&consumer, |stats| stats.applied == 1).await;
    assert_eq!(consumer.shutdown().await.unwrap().dead, 2);
}

#[tokio::test(start_paused = true)]
async fn keys_that_wait_do_not_keep_out_all_others() {
    let world = World { prefetch: Some(8), ..World::default() };
    let consumer = world.start_with(|config| {
        config.concurrency = 8;
        config.retry.schedule = vec![Duration::from_secs(3_600)];
    });
    let stuck: Vec<String> = (0..40).map(|n| format!("fails 1/{n}@k{}", n % 4)).collect();
    world.publish(&stuck.iter().map(String::as_str).collect::<Vec<_>>()).await;
    world.publish(&["ok/last"]).await;
    let soon = tokio::time::timeout(Duration::from_secs(60), until(&consumer, |stats| stats.applied == 1));
    soon.await.expect("it is not behind those that wait for an hour");
    until(&consumer, |stats| stats.applied == 41).await;
    let stats = consumer.shutdown().await.unwrap();
    assert!(stats.handed_back > 0, "{stats:?}");
    assert_eq!(stats.dead, 0);
}

/// Its followers were received before it failed.
#[tokio::test(start_paused = true)]
async fn one_key_does_not_keep_out_all_others() {
    let world = World { prefetch: Some(8), ..World::default() };
    let consumer = world.start_with(|config| {
        config.concurrency = 2;
        config.retry.schedule = vec![Duration::from_secs(3_600)];
    });
    let mut payloads = vec!["fails 1/a0@a".to_owned()];
    payloads.extend((1..=11).map(|n| format!("ok/a{n}@a")));
    payloads.push("ok/other".to_owned());
    world.publish(&payloads.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let soon = tokio::time::timeout(Duration::from_secs(60), until(&consumer, |stats| stats.applied == 1));
    soon.await.expect("another key does not wait for an hour");
    assert_eq!(world.seen.done(), ["ok/other"]);
    until(&consumer, |stats| stats.applied == 13).await;
    let done = world.seen.done();
    assert_eq!(of_key(&done, "/a")[..4], ["fails 1/a0", "ok/a1", "ok/a2", "ok/a3"], "those that were kept");
    drop(consumer);
}

/// The next consumer begins where this one ended.
#[tokio::test(start_paused = true)]
async fn a_shutdown_keeps_the_order_of_a_key_that_waits() {
    let world = World::default();
    let consumer = world.start_with(|config| config.concurrency = 1);
    world.publish(&["fails 1/a1@a", "ok/a2@a", "waits/b@b"]).await;
    world.seen.until(|seen| seen.begun().iter().any(|begun| begun == "waits/b")).await;
    let (ended, ()) = tokio::join!(consumer.shutdown(), async { world.seen.open() });
    ended.unwrap();
    let next = world.start();
    until(&next, |stats| stats.applied == 2).await;
    assert_eq!(of_key(&world.seen.done(), "/a"), ["fails 1/a1", "ok/a2"]);
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn without_order_keys_do_not_matter() {
    let world = World::default();
    let consumer = world.start_with(|config| config.order = Order::None);
    world.publish(&["fails 1/a1@a", "ok/a2@a"]).await;
    until(&consumer, |stats| stats.applied == 2).await;
    assert_eq!(world.seen.done(), ["ok/a2", "fails 1/a1"]);
    drop(consumer);
}
