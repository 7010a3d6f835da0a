//! What becomes of a message, by what its handler does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::harness::{World, until};
use super::watched::Watched;

#[tokio::test(start_paused = true)]
async fn every_message_is_handled_and_acknowledged() {
    let world = World::default();
    let consumer = world.start();
    let payloads: Vec<String> = (0..500).map(|n| format!("ok/{n}")).collect();
    world.publish(&payloads.iter().map(String::as_str).collect::<Vec<_>>()).await;
    until(&consumer, |stats| stats.applied == 500).await;
    let stats = consumer.shutdown().await.unwrap();
    assert_eq!((stats.received, stats.failed, stats.settle_errors), (500, 0, 0));
    assert_eq!(
        world.counts.writes.load(Ordering::Relaxed),
        0,
        "a message that works costs the inbox nothing"
    );
    let again = world.start();
    world.publish(&["ok/last"]).await;
    until(&again, |stats| stats.applied == 1).await;
    assert_eq!(again.shutdown().await.unwrap().received, 1, "what was acknowledged does not come again");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_three_times_works_in_the_end() {
    let world = World::default();
    let consumer = world.start();
    let begun = Instant::now();
    world.publish(&["fails 3", "ok"]).await;
    until(&consumer, |stats| stats.applied == 2).await;
    // 5 s, 15 s and 1 min, each up to a tenth longer.
    let taken = begun.elapsed();
    assert!((Duration::from_secs(80)..Duration::from_secs(89)).contains(&taken), "{taken:?}");
    let stats = consumer.shutdown().await.unwrap();
    assert_eq!((stats.failed, stats.dead, stats.duplicates, stats.suspected), (3, 0, 0, 0));
    assert_eq!(world.counts.len(), 0, "what has worked is not counted any more");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_always_fails_is_given_up_with_its_reason() {
    let world = World::default();
    let consumer = world.start();
    world.publish(&["fails 99", "ok/1", "ok/2"]).await;
    until(&consumer, |stats| stats.dead == 1).await;
    assert_eq!(
        world.reasons(),
        [("fails 99".to_owned(), "given up after 6 tries: no such account".to_owned())]
    );
    let stats = consumer.shutdown().await.unwrap();
    assert_eq!((stats.applied, stats.failed), (2, 6));
    assert_eq!(world.counts.len(), 0, "if it is sent in again, it starts anew");
}

#[tokio::test(start_paused = true)]
async fn tries_are_remembered_over_a_restart() {
    let world = World::default();
    let mut tries = 0;
    let first = world.start();
    world.publish(&["fails 99"]).await;
    until(&first, |stats| stats.retried == 1).await;
    tries += first.shutdown().await.unwrap().failed;
    let second = world.start();
    until(&second, |stats| stats.dead == 1).await;
    tries += second.shutdown().await.unwrap().failed;
    assert_eq!(tries, 6);
}

/// However often the process is restarted meanwhile.
#[tokio::test(start_paused = true)]
async fn an_outage_uses_no_try_over_restarts() {
    for log in [false, true] {
        let world = World { log, ..World::default() };
        drop(world.subscription());
        world.publish(&["away 20", "busy 20", "away 20/k@k"]).await;
        for restart in 0..8 {
            let consumer = world.start();
            world.seen.until(|seen| seen.begun().len() >= 3 * (restart + 1)).await;
            consumer.shutdown().await.unwrap();
        }
        let last = world.start();
        until(&last, |stats| stats.applied == 3).await;
        assert_eq!(last.shutdown().await.unwrap().dead, 0);
        assert_eq!((world.reasons(), world.counts.len()), (Vec::new(), 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_try() {
    let world = World::default();
    let consumer = world.start();
    world.publish(&["panics", "ok"]).await;
    until(&consumer, |stats| stats.dead == 1 && stats.applied == 1).await;
    assert_eq!(world.reasons()[0].1, "given up after 6 tries: the handler panicked: out of ink");
    assert_eq!(consumer.shutdown().await.unwrap().panicked, 6);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_is_dropped() {
    let world = World::default();
    let consumer = world.start_with(|config| {
        config.handler_timeout = Duration::from_secs(30);
        config.retry.max_attempts = 2;
    });
    world.publish(&["hangs", "ok"]).await;
    until(&consumer, |stats| stats.dead == 1).await;
    assert_eq!(world.reasons()[0].1, "given up after 2 tries: the handler took longer than 30s");
    assert_eq!(consumer.shutdown().await.unwrap().timed_out, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_is_given_up_at_once() {
    let world = World::default();
    let consumer = world.start();
    world.publish(&["rejects"]).await;
    until(&consumer, |stats| stats.dead == 1).await;
    assert_eq!(world.reasons(), [("rejects".to_owned(), "not an order".to_owned())]);
    assert_eq!(consumer.shutdown().await.unwrap().failed, 1);
}

/// Also where its partition is trusted by then, or its tries are not counted.
#[tokio::test(start_paused = true)]
async fn what_can_not_be_moved_to_the_dead_letters_is_not_tried_meanwhile() {
    for log in [false, true] {
        let world = World { log, prefetch: Some(2), ..World::default() };
        let subscription = Watched::new(world.subscription());
        let watched = subscription.counted();
        watched.unburied.store(20, Ordering::Relaxed);
        let consumer = world.consumer_of(Box::new(subscription)).configure(|config| {
            config.concurrency = 2;
            config.retry.max_attempts = 2;
        });
        let consumer = consumer.start().unwrap();
        world.publish(&["ok/1", "ok/2", "rejects/a1@a", "ok/a2@a", "fails 99/b"]).await;
        until(&consumer, |stats| stats.dead == 2).await;
        let stats = consumer.shutdown().await.unwrap();
        assert_eq!((stats.applied, stats.failed, stats.settle_errors), (3, 3, 20), "log: {log}");
        let mut reasons: Vec<String> = world.reasons().into_iter().map(|(_, reason)| reason).collect();
        reasons.sort();
        assert_eq!(reasons, ["given up after 2 tries: no such account", "not an order"]);
        assert_eq!(world.counts.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_fault_of_the_message_uses_no_try() {
    let world = World::default();
    let consumer = world.start_with(|config| config.retry.max_attempts = 1);
    world.publish(&["away 9", "busy 9", "away 9/key@k", "busy 9/key@l"]).await;
    until(&consumer, |stats| stats.applied == 4).await;
    let stats = consumer.shutdown().await.unwrap();
    assert_eq!((stats.unavailable, stats.busy, stats.failed, stats.dead), (18, 18, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_count_nothing_is_given_up() {
    let world = World::default();
    world.counts.away.store(true, Ordering::Relaxed);
    let consumer = world.start_with(|config| config.retry.max_attempts = 1);
    world.publish(&["fails 9"]).await;
    until(&consumer, |stats| stats.failed == 5).await;
    assert_eq!(world.reasons(), []);
    world.counts.away.store(false, Ordering::Relaxed);
    until(&consumer, |stats| stats.dead == 1).await;
    assert_eq!(world.reasons()[0].1, "given up after 1 tries: no such account");
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn what_comes_twice_has_its_effects_once() {
    let world = World::default();
    let consumer = world.start();
    world.publish(&["skips"]).await;
    let ids = world.publish(&["ok"]).await;
    until(&consumer, |stats| stats.applied == 1 && stats.skipped == 1).await;
    let copy = outbox_core::OutboxMessage::bytes(super::harness::TOPIC, "ok").unwrap().id(ids[0]).build();
    let _ = outbox_core::Transport::publish(&world.transport, &[copy.unwrap()]).await;
    until(&consumer, |stats| stats.duplicates == 1).await;
    assert_eq!(world.seen.done(), ["ok"]);
    drop(consumer);
}
