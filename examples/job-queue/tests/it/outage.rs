use std::collections::BTreeSet;
use std::future::ready;

use job_queue::runner;
use outbox_conformance::transport_suite::BrokerProcess as _;
use redis::AsyncCommands as _;

use crate::place::{LIST, Place, drained, until};

#[tokio::test]
async fn scenario_an_enqueue_that_fails_marks_nothing_as_published() {
    let Some(place) = Place::new().await else { return };
    let relay = place.relay().await;
    place.redis.kill().await;

    place.order(20).await;
    until("the relay does not notice", || ready(relay.stats().breaker_opened > 0)).await;
    assert_eq!((place.waiting().await, relay.stats().delivered), (20, 0));
    assert_eq!(place.count("SELECT count(*) FROM outbox_dead_letters").await, 0, "nor is anything given up");

    place.redis.start().await;
    drained(&relay).await;
    let listed = place.listed().await;
    assert_eq!((listed.len(), relay.shutdown().await.unwrap().delivered), (20, 20));
    assert_eq!(listed.iter().map(|resize| resize.job).collect::<BTreeSet<_>>().len(), 20, "each of them");
}

/// What a relay does that never learns of a confirmation, done by hand, so that it is not left to chance.
#[tokio::test]
async fn scenario_a_job_that_was_pushed_twice_is_recorded_once() {
    let Some(place) = Place::new().await else { return };
    let relay = place.relay().await;
    place.order(5).await;
    drained(&relay).await;
    let mut client = place.client().await;
    let elements: Vec<Vec<u8>> = client.lrange(LIST, 0, -1).await.unwrap();
    client.lpush::<_, _, ()>(LIST, elements).await.unwrap();

    let runner = runner(&place.pool, &place.runner_url(), |_| ready(Ok(())), |_| {}).await.unwrap();
    until("something is left", async || place.listed().await.len() as u64 + place.in_hands().await == 0)
        .await;
    let stats = runner.shutdown().await.unwrap();
    assert_eq!((stats.received, stats.applied, stats.duplicates), (10, 5, 5));
    assert_eq!(place.count("SELECT count(*) FROM jobs WHERE runs = 1").await, 5);
    relay.shutdown().await.unwrap();
}

/// A push whose answer got lost is pushed again. So a job may be in the list twice; it is recorded once.
#[tokio::test]
async fn scenario_redis_is_killed_under_load_and_each_job_is_recorded_once() {
    let Some(place) = Place::new().await else { return };
    let relay = place.relay().await;
    let runner = runner(&place.pool, &place.runner_url(), |_| ready(Ok(())), |_| {}).await.unwrap();

    for _ in 0..3 {
        let before = relay.stats().delivered;
        place.order(50).await;
        until("nothing is pushed", || ready(relay.stats().delivered > before)).await;
        place.redis.kill().await;
        place.order(50).await;
        place.redis.start().await;
    }
    drained(&relay).await;
    until("jobs are missing", async || place.count("SELECT count(*) FROM jobs WHERE runs = 0").await == 0)
        .await;
    until("something is left", async || place.listed().await.len() as u64 + place.in_hands().await == 0)
        .await;
    let (pushed, run) = (relay.shutdown().await.unwrap(), runner.shutdown().await.unwrap());

    assert_eq!(place.count("SELECT count(*) FROM jobs WHERE runs = 1").await, 300);
    assert_eq!((pushed.delivered, pushed.dead, run.applied, run.dead), (300, 0, 300, 0));
}
