//! A handler that takes longer than a broker waits.

use crate::eventually::until;
use crate::figures::report;
use crate::order::{Fate, Order};
use crate::process::Worker;
use crate::world::{Member, PATIENCE, World};

const SLOW: std::ops::Range<i32> = 0..2;

on_every_broker!(a_slow_handler_is_left_in_peace);

async fn a_slow_handler_is_left_in_peace(world: &World) {
    let settings = world.group(Member::default()).await;
    // Whoever is given a message a second time.
    let workers = [Worker::start(&settings).await, Worker::start(&settings).await];
    let mut quick = 1_000..1_000;
    // Until both are at work: a member that comes takes over partitions, with what is being handled.
    until("both have effects", PATIENCE, async || {
        let some = quick.end..quick.end + 20;
        world.publish(&Order::many(some.clone(), Fate::Ok)).await;
        quick.end = some.end;
        world.effects(quick.len()).await;
        let [first, second] =
            [world.database.count_of(workers[0].id()), world.database.count_of(workers[1].id())];
        first.await > 0 && second.await > 0
    })
    .await;
    let time = 3 * world.broker.redeliver_after(Member::default());
    world.publish(&Order::many(SLOW, Fate::Takes(time.as_millis().try_into().unwrap()))).await;
    let took = world.effects(quick.len() + SLOW.len()).await;
    let [first, second] = workers;
    let second = second.stop().await;
    // The other has everything now: it is not to leave a group that is still changing.
    let some = quick.end..quick.end + 20;
    world.publish(&Order::many(some.clone(), Fate::Ok)).await;
    quick.end = some.end;
    world.effects(quick.len() + SLOW.len()).await;
    let figures = [first.stop().await, second];
    world.database.has_each_once(SLOW.chain(quick.clone()).collect()).await;
    for number in SLOW {
        assert_eq!(world.database.calls(number).await, 1, "{figures:?}");
    }
    report(world.broker.name(), format!("{} of {time:.0?} each in {took:.1?}, one call each", SLOW.len()));
    world.is_all_acknowledged(&settings, quick.end).await;
}
