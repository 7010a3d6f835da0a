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

/// Members at any time, but for the moment in which one is exchanged for another.
const MEMBERS: usize = 3;

/// On librdkafka's own cluster, which lives in this process: tansu waits for ever for a leader of the group that left while
/// the group was forming.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in [TOPIC.to_owned(), format!("{CONSUMER}.dead")] {
        cluster.create_topic(&topic, PARTITIONS, 1).unwrap();
    }
    let kafka = brokers::kafka_at(cluster.bootstrap_servers());
    run(Some(kafka), effects_happen_once_in_a_storm_of_rebalances).await;
}

async fn effects_happen_once_in_a_storm_of_rebalances(world: &World) {
    let storm = Duration::from_secs(size("OUTBOX_CONSUMER_STORM", 10).into());
    let count = i32::try_from(size("OUTBOX_CONSUMER_STORM_MESSAGES", 3_000)).unwrap();
    let settings = world.group(Member::default()).await;
    world.publish(&Order::many(0..count, Fate::Ok)).await;
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(Worker::start(&settings).await);
    }
    let (mut killed, mut stopped, mut troubled) = (0, 0, 0);
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = Instant::now();
    while begun.elapsed() < storm {
        second.tick().await;
        let oldest = members.remove(0);
        members.push(Worker::start(&settings).await);
        if (killed + stopped) % 2 == 0 {
            oldest.kill().await;
            killed += 1;
        } else {
            // Whose group has gone on without it can't store its last positions, and says so.
            troubled += u32::from(oldest.stop_in_a_storm().await.is_err());
            stopped += 1;
        }
    }
    let (stormy, in_storm) = (begun.elapsed(), world.database.count().await);
    let rest = world.effects(count.try_into().unwrap()).await;
    for member in members {
        member.stop().await;
    }
    world.database.has_each_once((0..count).collect()).await;
    let expected = Order::many(0..count, Fate::Ok);
    for (key, found) in world.database.by_key().await {
        let of_key = expected.iter().filter(|order| order.key == key).map(|order| order.number);
        assert_eq!(found, of_key.collect::<Vec<_>>(), "{key} keeps its order");
    }
    world.is_all_acknowledged(&settings, count).await;
    report(
        world.broker.name(),
        format!(
            "{killed} members killed and {stopped} stopped in {stormy:.0?}, {troubled} of them too late for their last \
             positions; {in_storm} of {count} messages by then, the rest {rest:.0?} later, each once and in order"
        ),
    );
}
