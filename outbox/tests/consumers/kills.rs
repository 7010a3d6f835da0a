//! A worker that is killed after a commit and before the acknowledgement.

use std::time::{Duration, Instant};

use crate::figures::{report, size};
use crate::order::{Fate, Order};
use crate::process::Worker;
use crate::world::{Member, PATIENCE, World};

/// The commits of a life, in turn.
const COMMITS: [u32; 5] = [1, 2, 3, 7, 13];

on_every_broker!(effects_happen_once_however_often_the_consumer_is_killed);

async fn effects_happen_once_however_often_the_consumer_is_killed(world: &World) {
    let lives: Vec<u32> =
        (0..size("OUTBOX_CONSUMER_KILLS", 10)).map(|life| COMMITS[life as usize % 5]).collect();
    let mut settings = world.group(Member::default()).await;
    // In the moment that it takes to be killed, the others may commit, too.
    let others = u32::try_from(settings.concurrency).unwrap();
    let count = i32::try_from(lives.iter().map(|commits| commits + others).sum::<u32>() + 40).unwrap();
    world.publish(&Order::many(0..count, Fate::Ok)).await;
    let begun = Instant::now();
    for commits in &lives {
        settings.dies_after = Some(*commits);
        Worker::start(&settings).await.died(PATIENCE).await;
    }
    let (killed, left) = (begun.elapsed(), count - i32::try_from(world.database.count().await).unwrap());
    assert!(left > 0, "the last one was killed on its way, too");
    settings.dies_after = None;
    let last = Worker::start(&settings).await;
    let rest = world.effects(count.try_into().unwrap()).await;
    let stats = last.stop().await;
    world.database.has_each_once((0..count).collect()).await;
    let killed_each = killed.checked_div(lives.len().try_into().unwrap()).unwrap_or(Duration::ZERO);
    world.is_all_acknowledged(&settings, count).await;
    report(
        world.broker.name(),
        format!(
            "{} kills, one in {killed_each:.1?}, {count} messages once; the last worker had {left} of them in \
             {rest:.1?}, {} duplicates, {} with care",
            lives.len(),
            stats.get("duplicates"),
            stats.get("suspected"),
        ),
    );
}
