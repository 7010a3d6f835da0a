//! Messages that can't be handled, in one stream with many that can.

use std::collections::BTreeMap;

use outbox::MessageId;

use crate::brokers::TOPIC;
use crate::eventually::until;
use crate::figures::report;
use crate::order::{Fate, Order};
use crate::process::Worker;
use crate::worker::CONSUMER;
use crate::world::{Member, PATIENCE, World};

const OTHERS: i32 = 200;
/// With whose numbers they have the keys of others.
const FAILS_AND_WORKS: i32 = 1_003;
const FAILS: i32 = 1_005;
const PANICS: i32 = 1_007;
const ABORTS: i32 = 1_009;

on_every_broker!(what_can_not_be_handled_is_given_up_and_holds_nobody_up);

async fn what_can_not_be_handled_is_given_up_and_holds_nobody_up(world: &World) {
    // All of it, so that a few keys that wait are not handed back.
    let settings = world.group(Member { prefetch: 256, ..Member::default() }).await;
    let mut orders = Order::many(0..OTHERS, Fate::Ok);
    orders.insert(120, Order::new(ABORTS, Fate::Aborts));
    orders.insert(80, Order::new(PANICS, Fate::Panics));
    orders.insert(60, Order::new(FAILS, Fate::Fails(i64::MAX)));
    orders.insert(40, Order::new(FAILS_AND_WORKS, Fate::Fails(3)));
    world.publish(&orders).await;
    let mut worker = Worker::start(&settings).await;
    let first = worker.id();
    let mut died = 0;
    let handled = usize::try_from(OTHERS + 1).unwrap();
    let took = until("all are handled or given up", PATIENCE, async || {
        if worker.is_dead() {
            died += 1;
            worker = Worker::start(&settings).await;
        }
        world.database.count().await >= handled && world.broker.dead_letters().await.len() >= 3
    });
    let took = took.await;
    let stats = worker.stop().await;

    let numbers = (0..OTHERS).chain([FAILS_AND_WORKS]);
    world.database.has_each_once(numbers.collect()).await;
    let expected = expected_order(&orders);
    if world.broker.keeps_order_across_crashes() {
        assert_eq!(world.database.by_key().await, expected);
    } else {
        // What a member has left comes when its time is over, and later ones of its keys are faster.
        for (key, found) in world.database.by_key_of(first).await {
            assert_eq!(found, expected[&key][..found.len()], "{key} in the first process");
        }
    }
    let reasons = reasons(world).await;
    assert_eq!(
        reasons,
        BTreeMap::from([
            (FAILS, "given up after 6 tries: the printer is on fire".to_owned()),
            (PANICS, "given up after 6 tries: the handler panicked: out of ink".to_owned()),
            (ABORTS, "given up after 6 tries, the last of which did not end".to_owned()),
        ])
    );
    let calls = |number| world.database.calls(number);
    assert_eq!(calls(ABORTS).await, died, "{stats:?}");
    // Once without being counted, where nobody could know yet what it does.
    assert!((6..=7).contains(&died), "it ended {died} processes");
    for (number, tries) in [(FAILS, 6), (PANICS, 6), (FAILS_AND_WORKS, 4)] {
        // One that the first kill cuts off, before or after its commit, is not counted.
        let calls = calls(number).await;
        let most = if is_log(world) { usize::MAX } else { tries + 1 };
        assert!((tries..=most).contains(&calls), "{calls} calls for {number}");
    }
    // A kill between a dead letter and the end of its count leaves that to the purge.
    let left = world.database.counted_tries().await;
    assert!(left <= 2, "{left} counts are left");
    report(world.broker.name(), format!("all done in {took:.1?}, with {died} processes that died"));
}

/// A log remembers one position per partition. What was given up beyond one that waited comes again after a kill, and is
/// given up again.
fn is_log(world: &World) -> bool {
    world.broker.name() == "Kafka"
}

/// That of the publishing, without what was given up.
fn expected_order(orders: &[Order]) -> BTreeMap<String, Vec<i32>> {
    let mut keys: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for order in orders.iter().filter(|order| ![FAILS, PANICS, ABORTS].contains(&order.number)) {
        keys.entry(order.key.clone()).or_default().push(order.number);
    }
    keys
}

/// Why each order was given up.
async fn reasons(world: &World) -> BTreeMap<i32, String> {
    let letters = world.broker.dead_letters().await;
    assert!(letters.len() == 3 || is_log(world) && letters.len() > 3, "{letters:?}");
    let reason = |letter: &crate::brokers::DeadLetter| {
        assert_eq!((letter.group.as_str(), letter.topic.as_str()), (CONSUMER, TOPIC));
        assert!(letter.id.parse::<MessageId>().is_ok(), "{letter:?}");
        let order: Order = serde_json::from_slice(&letter.payload).unwrap();
        (order.number, letter.reason.clone())
    };
    letters.iter().map(reason).collect()
}
