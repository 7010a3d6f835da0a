//! Pauses, the end, and what the inbox forgets.

use std::sync::atomic::Ordering;
use std::time::Duration;

use outbox_relay::ConsumerError;

use super::harness::{World, until};
use super::watched::Watched;

#[tokio::test(start_paused = true)]
async fn a_pause_begins_nothing_and_finishes_what_runs() {
    let world = World::default();
    let consumer = world.start();
    world.publish(&["waits"]).await;
    world.seen.until(|seen| seen.begun().len() == 1).await;
    consumer.pause();
    world.publish(&["ok/1", "ok/2"]).await;
    world.seen.open();
    until(&consumer, |stats| stats.applied == 1).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(consumer.stats().applied, 1, "an hour later");
    consumer.resume();
    until(&consumer, |stats| stats.applied == 3).await;
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_finishes_what_runs_and_hands_back_the_rest() {
    let world = World::default();
    let consumer = world.start_with(|config| config.concurrency = 1);
    world.publish(&["waits", "ok/1", "fails 9/k@k", "ok/2"]).await;
    world.seen.until(|seen| seen.begun().len() == 1).await;
    until(&consumer, |stats| stats.received == 4).await;
    let (stats, ()) = tokio::join!(consumer.shutdown(), async { world.seen.open() });
    assert_eq!(stats.unwrap().applied, 1);
    assert_eq!(world.seen.begun(), ["waits"], "nothing more was begun");
    let next = world.start();
    until(&next, |stats| stats.applied == 2).await;
    assert_eq!(next.shutdown().await.unwrap().duplicates, 0, "what was finished was acknowledged");
}

#[tokio::test(start_paused = true)]
async fn what_waits_takes_its_room_until_the_subscription_is_closed() {
    let world = World::default();
    let subscription = Watched::new(world.subscription());
    let counted = subscription.counted();
    let consumer = world.consumer_of(Box::new(subscription)).configure(|config| config.concurrency = 1);
    let consumer = consumer.start().unwrap();
    world.publish(&["waits", "ok/1", "ok/2", "ok/3"]).await;
    until(&consumer, |stats| stats.received == 4).await;
    let (stats, ()) = tokio::join!(consumer.shutdown(), async { world.seen.open() });
    assert_eq!(stats.unwrap().applied, 1);
    let open = counted.open_at_close.load(Ordering::Relaxed);
    assert_eq!(open, 3, "others would have been delivered in their place");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_ever() {
    let world = World::default();
    let consumer = world.start();
    world.publish(&["hangs", "hangs/2"]).await;
    world.seen.until(|seen| seen.begun().len() == 2).await;
    let error = consumer.shutdown().await.unwrap_err();
    assert!(matches!(error, ConsumerError::ShutdownTimedOut { unfinished: 2 }), "{error}");
    let next = world.start();
    world.seen.until(|seen| seen.begun().len() >= 3).await;
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_stops_the_consumer() {
    let world = World::default();
    drop(world.start());
    let next = world.start();
    world.publish(&["ok"]).await;
    until(&next, |stats| stats.applied == 1).await;
    assert!(next.is_running() && next.trouble().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_inbox_is_purged_page_by_page() {
    let world = World::default();
    let consumer = world.start_with(|config| config.purge_interval = Duration::from_secs(10));
    until(&consumer, |stats| stats.purged == 2_014).await;
    assert_eq!(world.counts.purges.load(Ordering::Relaxed), 4, "two times a full page and the rest");
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_gone_purges_nothing() {
    let world = World::default();
    let consumer = world.start_with(|config| config.purge_interval = Duration::from_secs(10));
    world.publish(&["ok"]).await;
    until(&consumer, |stats| stats.applied == 1).await;
    consumer.abort();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.counts.purges.load(Ordering::Relaxed), 0);
    let consumer = world.start_with(|config| config.purge_interval = Duration::from_secs(10));
    consumer.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.counts.purges.load(Ordering::Relaxed), 0);
}
