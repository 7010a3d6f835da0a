//! Processes that die while they handle a message. A consumer that is aborted stands for one: nothing of it goes on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::harness::{Seen, World, until};

/// How often the culprit was begun.
fn culprits(seen: &Seen) -> usize {
    seen.begun().iter().filter(|payload| payload.starts_with("kills")).count()
}

/// Lets consumers come up one after the other, each of which dies when there is one more death, until one survives.
async fn crash_loop(
    world: &World,
    deaths: impl Fn(&Seen) -> usize,
    survives: impl Fn(&outbox_relay::ConsumerStats) -> bool,
) -> usize {
    let mut died = 0;
    loop {
        let (before, consumer) = (deaths(&world.seen), world.start());
        let survived = tokio::select! {
            biased;
            () = world.seen.until(|seen| deaths(seen) > before) => false,
            () = until(&consumer, &survives) => true,
        };
        if survived {
            consumer.shutdown().await.unwrap();
            return died;
        }
        consumer.abort();
        // The runtime drops what was aborted when it gets to it.
        tokio::time::sleep(Duration::from_millis(1)).await;
        died += 1;
        assert!(died < 50, "{:?}", world.seen.begun());
    }
}

async fn a_culprit_is_given_up_alone(world: World) {
    drop(world.subscription());
    let mut payloads: Vec<String> = (0..100).map(|n| format!("ok/{n}@k{}", n % 7)).collect();
    payloads.insert(20, "kills/x".to_owned());
    world.publish(&payloads.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let died = crash_loop(&world, culprits, |stats| stats.dead == 1).await;
    // Once with the others, and then by itself, counted.
    assert_eq!(died, if world.log { 6 } else { 7 });
    let expected = "given up after 6 tries, the last of which did not end";
    assert_eq!(world.reasons(), [("kills/x".to_owned(), expected.to_owned())]);
    let last = world.start();
    let all = |seen: &Seen| seen.done().len() == 100;
    world.seen.until(all).await;
    assert_eq!(last.shutdown().await.unwrap().dead, 0, "no other message was given up");
    for key in 0..7 {
        let end = format!("@k{key}");
        let done = world.seen.done();
        let order: Vec<usize> = done
            .iter()
            .filter_map(|payload| payload.strip_prefix("ok/")?.parse().ok())
            .filter(|n| n % 7 == key)
            .collect();
        assert!(order.is_sorted(), "{end}: {order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_takes_the_process_down_is_given_up_alone() {
    a_culprit_is_given_up_alone(World::default()).await;
}

#[tokio::test(start_paused = true)]
async fn also_where_the_broker_does_not_count() {
    a_culprit_is_given_up_alone(World::log()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_tried_alone_is_alone_also_if_it_could_not_be_counted_at_once() {
    let world = World::default();
    drop(world.subscription());
    world.publish(&["kills/x", "ok/y"]).await;
    for begun in 1..=2 {
        let dies = world.start_with(|config| config.concurrency = 1);
        world.seen.until(|seen| seen.begun().len() == begun).await;
        dies.abort();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // A count, which is taken back, and then the one of the try.
    let counted = world.counts.writes.load(Ordering::Relaxed);
    *world.counts.refused.lock().unwrap() = vec![counted + 3];
    let next = world.start_with(|config| config.concurrency = 1);
    world.seen.until(|seen| seen.begun().iter().filter(|payload| *payload == "kills/x").count() == 3).await;
    assert_eq!(next.stats().alone, 2);
    next.abort();
}

/// What an orderly end hands over is looked at with care, and that costs no more than a count.
#[tokio::test(start_paused = true)]
async fn what_is_handed_over_is_handled_at_once() {
    let world = World::default();
    let first = world.start_with(|config| config.concurrency = 1);
    let mut payloads = vec!["waits/0".to_owned()];
    payloads.extend((1..=40).map(|n| format!("waits/{n}@k{n}")));
    world.publish(&payloads.iter().map(String::as_str).collect::<Vec<_>>()).await;
    until(&first, |stats| stats.received == 41).await;
    first.abort();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let next = world.start_with(|config| config.concurrency = 16);
    let running = |seen: &Seen| seen.most_running.load(Ordering::Relaxed);
    world.seen.until(|seen| running(seen) == 16).await;
    world.seen.open();
    until(&next, |stats| stats.applied == 41).await;
    let stats = next.shutdown().await.unwrap();
    assert_eq!((stats.suspected, stats.alone, stats.dead), (41, 0, 0));
    assert_eq!(world.counts.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn careful_is_only_the_beginning() {
    let world = World::log();
    let consumer = world.start();
    let payloads: Vec<String> = (0..1_000).map(|n| format!("ok/{n}")).collect();
    world.publish(&payloads.iter().map(String::as_str).collect::<Vec<_>>()).await;
    until(&consumer, |stats| stats.applied == 1_000).await;
    let stats = consumer.shutdown().await.unwrap();
    // Those that were received before the first of them were through are also looked at with care.
    assert!((64..=128).contains(&stats.suspected), "{stats:?}");
}

/// A try that could not be made says nothing about the one before it, which took the process down.
#[tokio::test(start_paused = true)]
async fn a_suspect_whose_try_was_none_is_still_a_suspect() {
    for log in [false, true] {
        let world = World { log, ..World::default() };
        drop(world.subscription());
        world.publish(&["kills or-is-away/x", "ok/y"]).await;
        let every_other = |seen: &Seen| culprits(seen).div_ceil(2);
        let died = crash_loop(&world, every_other, |stats| stats.dead == 1).await;
        assert_eq!(died, if log { 6 } else { 7 });
        assert_eq!(world.reasons()[0].0, "kills or-is-away/x");
        assert_eq!(world.seen.done(), ["ok/y"]);
    }
}

/// Or else an outage of the database would use up its tries.
#[tokio::test(start_paused = true)]
async fn a_count_that_can_not_be_taken_back_is_that_of_the_next_try() {
    let world = World::default();
    drop(world.subscription());
    world.publish(&["away 20"]).await;
    let dies = world.start();
    world.seen.until(|seen| seen.begun().len() == 1).await;
    dies.abort();
    tokio::time::sleep(Duration::from_millis(1)).await;
    // Each second write, which is the one that takes a count back.
    *world.counts.refused.lock().unwrap() = (1..40).map(|n| 2 * n).collect();
    let next = world.start();
    until(&next, |stats| stats.applied + stats.dead == 1).await;
    assert_eq!(world.reasons(), []);
    drop(next);
}

/// Lets these messages, which hang, time out once each, and restarts the consumer: they may have taken it down.
async fn restart_after_time_outs(world: &World, hanging: &[&str]) -> outbox_relay::ConsumerHandle {
    let start = || world.start_with(|config| config.retry.schedule = vec![Duration::from_secs(3_600)]);
    drop(world.subscription());
    world.publish(hanging).await;
    let dies = start();
    until(&dies, |stats| stats.retried == 4).await;
    dies.abort();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let next = start();
    until(&next, |stats| stats.alone == 1).await;
    next
}

const HANGING: [&str; 4] = ["hangs/1", "hangs/2", "hangs/3", "hangs/4"];

#[tokio::test(start_paused = true)]
async fn others_have_a_turn_between_two_that_are_tried_alone() {
    let world = World::default();
    let next = restart_after_time_outs(&world, &HANGING).await;
    world.publish(&["ok/1", "ok/2"]).await;
    until(&next, |stats| stats.timed_out == 1).await;
    until(&next, |stats| stats.applied == 2).await;
    assert_eq!(world.seen.begun()[4..7], ["hangs/1", "ok/1", "ok/2"]);
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn others_have_one_turn_and_not_more() {
    let world = World::default();
    let next = restart_after_time_outs(&world, &HANGING).await;
    let followers: Vec<String> = (1..=8).map(|n| format!("ok/{n}@k")).collect();
    world.publish(&followers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    until(&next, |stats| stats.alone == 4).await;
    let expected = ["hangs/1", "ok/1", "hangs/2", "ok/2", "hangs/3", "ok/3", "hangs/4"];
    assert_eq!(world.seen.begun()[4..], expected);
    drop(next);
}

/// With a broker that counts deliveries and no inbox, its count is all there is.
#[tokio::test(start_paused = true)]
async fn without_an_inbox_what_only_waited_is_not_given_up() {
    let world = World { prefetch: Some(4), ..World::default() };
    let start = || {
        let consumer = world.without_inbox(world.subscription());
        consumer.configure(|config| config.concurrency = 1).start().unwrap()
    };
    let dies = start();
    world.publish(&["waits", "away 20/a0@a", "ok/a1@a", "ok/a2@a", "ok/a3@a"]).await;
    until(&dies, |stats| stats.received == 4).await;
    dies.abort();
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.seen.open();
    let next = start();
    until(&next, |stats| stats.applied + stats.dead == 5).await;
    assert_eq!(world.reasons(), []);
    assert!(next.shutdown().await.unwrap().handed_back > 10);
}
