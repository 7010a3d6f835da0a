//! Members of a group that come and go all the time.

use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use tokio::time::{MissedTickBehavior, interval};

use crate::brokers::{self, PARTITIONS, TOPIC};
use crate::figures::{report, size};
use crate::order::{Fate, Order};
use crate::process::Worker;
use crate::worker::CONSUMER;
use crate::world::{Member, World, run};

/// Members at any time, each of which is there for as many seconds.
const MEMBERS: usize = 6;

/// How members go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Killed,
    Stopped,
}

/// tansu would wait for ever for a leader that says goodbye while the group is forming, so here they all die.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_members_are_killed() {
    run(brokers::kafka().await, async |world| a_storm(world, End::Killed).await).await;
}

/// librdkafka's own cluster, which lives in this process, would wait for each dead member anew, so here they all say
/// goodbye.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_members_are_stopped() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in [TOPIC.to_owned(), format!("{CONSUMER}.dead")] {
        cluster.create_topic(&topic, PARTITIONS, 1).unwrap();
    }
    let kafka = brokers::kafka_at(cluster.bootstrap_servers());
    run(Some(kafka), async |world| a_storm(world, End::Stopped).await).await;
}

async fn a_storm(world: &World, end: End) {
    let storm = Duration::from_secs(size("OUTBOX_CONSUMER_STORM", 10).into());
    let count = i32::try_from(size("OUTBOX_CONSUMER_STORM_MESSAGES", 3_000)).unwrap();
    let settings = world.group(Member::default()).await;
    world.publish(&Order::many(0..count, Fate::Ok)).await;
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(Worker::start(&settings).await);
    }
    // Nothing is a storm before it is a group.
    world.effects(1).await;
    let (mut gone, mut troubled) = (0, 0);
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = Instant::now();
    while begun.elapsed() < storm {
        second.tick().await;
        troubled += usize::from(!goes(members.remove(0), end).await);
        members.push(Worker::start(&settings).await);
        gone += 1;
    }
    let (stormy, in_storm) = (begun.elapsed(), world.database.count().await);
    for member in members {
        goes(member, end).await;
    }
    // In peace, one has the rest, and acknowledges what the others could not.
    let last = Worker::start(&settings).await;
    let all = count + 20;
    world.publish(&Order::many(count..all, Fate::Ok)).await;
    let rest = world.effects(all.try_into().unwrap()).await;
    let again = last.stop().await.get("duplicates");
    world.database.has_each_once((0..all).collect()).await;
    let had = world.database.workers().await;
    assert!(had > 1, "nobody but the last one had anything");
    let expected = Order::many(0..all, Fate::Ok);
    for (key, found) in world.database.by_key().await {
        let of_key = expected.iter().filter(|order| order.key == key).map(|order| order.number);
        assert_eq!(found, of_key.collect::<Vec<_>>(), "{key} keeps its order");
    }
    world.is_all_acknowledged(&settings, all).await;
    report(
        world.broker.name(),
        format!(
            "{gone} members {end:?} in {stormy:.0?}, {troubled} too late for their last positions; {in_storm} of {count} \
             messages by then, the rest in {rest:.0?}, by {had} processes, each once and in order; {again} came again to \
             the last"
        ),
    );
}

/// `false` if the broker may not know of its last settlements: its group has gone on without it.
async fn goes(member: Worker, end: End) -> bool {
    match end {
        End::Killed => {
            member.kill().await;
            true
        }
        End::Stopped => member.stop_in_a_storm().await.is_ok(),
    }
}
