//! Processes that die while they handle a message. A consumer that is aborted stands for one: nothing of it goes on.

use std::time::Duration;

use super::harness::{World, until};

/// Lets consumers come up one after the other, each of which dies when the culprit is begun, until one survives.
async fn crash_loop(world: &World, survives: impl Fn(&outbox_relay::ConsumerStats) -> bool) -> usize {
    let mut died = 0;
    loop {
        let culprits = |seen: &super::harness::Seen| {
            seen.begun().iter().filter(|payload| payload.starts_with("kills")).count()
        };
        let (before, consumer) = (culprits(&world.seen), world.start());
        let survived = tokio::select! {
            biased;
            () = world.seen.until(|seen| culprits(seen) > before) => false,
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
    let died = crash_loop(&world, |stats| stats.dead == 1).await;
    // Once with the others, and then by itself, counted.
    assert_eq!(died, if world.log { 5 } else { 6 });
    let expected = "given up after 5 tries, the last of which ended the process";
    assert_eq!(world.reasons(), [("kills/x".to_owned(), expected.to_owned())]);
    let last = world.start();
    let all = |seen: &super::harness::Seen| seen.done().len() == 100;
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
