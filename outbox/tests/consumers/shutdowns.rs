//! A worker that is told to end in the middle of its work.

use std::time::Instant;

use crate::eventually::until;
use crate::figures::report;
use crate::order::{Fate, Order};
use crate::process::Worker;
use crate::world::{Member, PATIENCE, World};

const ORDERS: i32 = 600;

on_every_broker!(who_is_stopped_leaves_the_rest_to_the_next_at_once);

async fn who_is_stopped_leaves_the_rest_to_the_next_at_once(world: &World) {
    // What was not handed back would come again after this, which nobody waits for.
    let member = Member { redeliver_after: 5 * PATIENCE, ..Member::default() };
    let settings = world.group(member).await;
    world.publish(&Order::many(0..ORDERS, Fate::Takes(10))).await;
    let first = Worker::start(&settings).await;
    world.effects(100).await;
    let told = Instant::now();
    let first = first.stop().await;
    let (stopped, before) = (told.elapsed(), world.database.count().await);
    assert_eq!(first.get("applied"), before, "what was committed is known: {first:?}");
    assert!(before < 500, "it was stopped under load");
    let begun = Instant::now();
    let second = Worker::start(&settings).await;
    let worker = second.id();
    let first_effect =
        until("the next one has an effect", PATIENCE, async || world.database.count_of(worker).await > 0);
    let first_effect = first_effect.await;
    world.effects(ORDERS.try_into().unwrap()).await;
    let rest = begun.elapsed();
    let second = second.stop().await;
    world.database.has_each_once((0..ORDERS).collect()).await;
    // A log remembers one position per partition: what was handled beyond one that waited comes again.
    let most = if world.broker.name() == "Kafka" { 64 } else { 0 };
    assert_eq!(first.get("duplicates"), 0, "{first:?}");
    assert!(second.get("duplicates") <= most, "{second:?}");
    assert_eq!(before + second.get("applied"), usize::try_from(ORDERS).unwrap());
    report(
        world.broker.name(),
        format!(
            "stopped in {stopped:.2?} after {before}; the next one had its first after {first_effect:.2?} and all \
             {} after {rest:.2?}, {} with care",
            second.get("applied"),
            second.get("suspected"),
        ),
    );
}
