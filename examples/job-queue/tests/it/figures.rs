use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use job_queue::{Resize, runner};
use outbox::relay::{ConsumerConfig, RelayHandle};

use crate::place::{Place, drained, until};

/// Ends a relay while jobs are ordered, and compares what it has counted with the table and the list.
async fn exact_after(end: impl AsyncFnOnce(RelayHandle)) {
    let Some(place) = Place::new().await else { return };
    let relay = place.relay().await;
    let monitor = relay.monitor();
    let stop = Arc::new(AtomicBool::new(false));
    let (jobs, stopping) = (place.jobs.clone(), Arc::clone(&stop));
    let ordering = tokio::spawn(async move {
        while !stopping.load(Ordering::Relaxed) {
            jobs.order("a.png").await.unwrap();
        }
    });
    until("nothing is pushed", || ready(monitor.stats().delivered >= 50)).await;
    end(relay).await;
    until("the relay does not end", || ready(!monitor.status().running)).await;
    stop.store(true, Ordering::Relaxed);
    ordering.await.unwrap();
    // At least this one is left.
    place.order(1).await;

    let (delivered, waiting) = (monitor.stats().delivered, place.waiting().await);
    assert_eq!(delivered, place.listed().await.len() as u64, "what was counted is in the list");
    assert_eq!(
        delivered + waiting,
        place.count("SELECT count(*) FROM jobs").await,
        "and the rest in the table"
    );
    assert!(delivered >= 50 && waiting >= 1);

    let next = place.relay().await;
    drained(&next).await;
    assert_eq!(next.shutdown().await.unwrap().delivered, waiting, "which the next relay delivers");
    assert_eq!(place.listed().await.len() as u64, delivered + waiting);
}

#[tokio::test]
async fn scenario_figures_are_exact_after_a_shutdown_in_the_middle() {
    exact_after(async |relay: RelayHandle| {
        let (monitor, stats) = (relay.monitor(), relay.shutdown().await.unwrap());
        assert_eq!(stats, monitor.stats(), "what it says at its end is what it has counted");
    })
    .await;
}

#[tokio::test]
async fn scenario_figures_are_exact_after_a_shutdown_that_nobody_waits_for() {
    exact_after(async |relay: RelayHandle| {
        tokio::select! {
            biased;
            _ = relay.shutdown() => panic!("there is something to finish"),
            () = ready(()) => {}
        }
    })
    .await;
}

#[tokio::test]
async fn scenario_figures_are_exact_after_the_handle_is_dropped() {
    exact_after(async |relay: RelayHandle| drop(relay)).await;
}

fn quick(config: &mut ConsumerConfig) {
    config.concurrency = 4;
    config.retry.schedule = vec![Duration::from_millis(20)];
}

/// The first try of one job never ends, and its future is dropped by the time limit.
#[tokio::test]
async fn scenario_figures_are_exact_after_a_handler_is_cancelled() {
    let Some(place) = Place::new().await else { return };
    place.order(20).await;
    let relay = place.relay().await;
    drained(&relay).await;
    relay.shutdown().await.unwrap();

    let tries = Arc::new(AtomicU64::new(0));
    let begun = Arc::clone(&tries);
    let work = move |resize: Resize| {
        begun.fetch_add(1, Ordering::Relaxed);
        let first = resize.job == 7 && begun.load(Ordering::Relaxed) <= 20;
        async move {
            if first {
                pending::<()>().await;
            }
            Ok(())
        }
    };
    let tune = |config: &mut ConsumerConfig| {
        quick(config);
        config.handler_timeout = Duration::from_secs(3);
    };
    let runner = runner(&place.pool, &place.runner_url(), work, tune).await.unwrap();
    until("jobs are missing", || ready(runner.stats().applied == 20)).await;
    until("they are not acknowledged", async || place.in_hands().await == 0).await;
    let stats = runner.shutdown().await.unwrap();

    assert_eq!(tries.load(Ordering::Relaxed), 21);
    assert_eq!((stats.applied, stats.failed, stats.timed_out), (20, 1, 1));
    // Between two tries it waits in memory or at the broker, which is the consumer's affair; both are counted.
    assert_eq!(stats.received, stats.applied + stats.handed_back);
    assert_eq!((stats.duplicates, stats.dead, stats.settle_errors), (0, 0, 0));
    assert_eq!((stats.running, stats.waiting), (0, 0), "no gauge is left behind");
    assert_eq!(place.count("SELECT count(*) FROM jobs WHERE runs = 1").await, 20);
    assert!(place.listed().await.is_empty());
}

/// A runner ends in the middle of four jobs, as if its process had died.
#[tokio::test]
async fn scenario_figures_are_exact_after_a_runner_is_killed() {
    let Some(place) = Place::new().await else { return };
    place.order(20).await;
    let relay = place.relay().await;
    drained(&relay).await;
    relay.shutdown().await.unwrap();

    // The first ten jobs end, and no other.
    let some = async |resize: Resize| {
        if resize.job > 10 {
            pending::<()>().await;
        }
        Ok(())
    };
    let killed = runner(&place.pool, &place.runner_url(), some, quick).await.unwrap();
    until("nothing runs", || ready(killed.stats().applied == 10 && killed.stats().running == 4)).await;
    until("they are not acknowledged", async || {
        place.in_hands().await + place.listed().await.len() as u64 == 10
    })
    .await;
    assert_eq!(place.count("SELECT count(*) FROM jobs WHERE runs = 1").await, 10);
    killed.abort();

    let next = runner(&place.pool, &place.runner_url(), |_| ready(Ok(())), quick).await.unwrap();
    until("jobs are missing", || ready(next.stats().applied == 10)).await;
    until("they are not acknowledged", async || place.in_hands().await == 0).await;
    let stats = next.shutdown().await.unwrap();
    assert_eq!((stats.applied, stats.duplicates, stats.failed), (10, 0, 0));
    assert_eq!(stats.received, stats.applied + stats.handed_back);
    assert_eq!(place.count("SELECT count(*) FROM jobs WHERE runs = 1").await, 20);
    assert!(place.listed().await.is_empty());
}
