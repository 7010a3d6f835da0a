//! A handler that takes longer than a broker waits.

use crate::figures::report;
use crate::order::{Fate, Order};
use crate::process::Worker;
use crate::world::{Member, World};

const ORDERS: i32 = 6;

on_every_broker!(a_slow_handler_is_left_in_peace);

async fn a_slow_handler_is_left_in_peace(world: &World) {
    let time = 3 * world.broker.redeliver_after(Member::default());
    let settings = world.group(Member::default()).await;
    // Whoever is given a message a second time.
    let workers = [Worker::start(&settings).await, Worker::start(&settings).await];
    world.publish(&Order::many(0..ORDERS, Fate::Takes(time.as_millis().try_into().unwrap()))).await;
    let took = world.effects(ORDERS.try_into().unwrap()).await;
    let mut figures = Vec::new();
    for worker in workers {
        figures.push(worker.stop().await);
    }
    world.database.has_each_once((0..ORDERS).collect()).await;
    for number in 0..ORDERS {
        assert_eq!(world.database.calls(number).await, 1, "{figures:?}");
    }
    let applied: Vec<usize> = figures.iter().map(|stats| stats.get("applied")).collect();
    report(world.broker.name(), format!("{applied:?} of {time:.0?} each in {took:.1?}"));
    world.is_all_acknowledged(&settings, ORDERS).await;
}
