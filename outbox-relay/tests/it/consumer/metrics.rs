//! What a consumer tells the recorder.

use std::time::Duration;

use outbox_relay::metrics::names;

use super::harness::{World, until};
use crate::ledger::Ledger;

#[tokio::test(start_paused = true)]
async fn every_metric_of_a_consumer_moves_and_adds_up() {
    let ledger = Ledger::new();
    let _listening = ledger.listen();
    let world = World::default();
    let consumer = world.start();
    let total = |name: &str| ledger.total(&format!("{name}{{consumer=billing}}"));
    world.publish(&["waits"]).await;
    let ids = world.publish(&["ok/1"]).await;
    world.publish(&["fails 2", "rejects", "ok/2"]).await;
    until(&consumer, |stats| stats.applied == 2).await;
    let copy = outbox_core::OutboxMessage::bytes(super::harness::TOPIC, "ok/1").unwrap().id(ids[0]).build();
    let _ = outbox_core::Transport::publish(&world.transport, &[copy.unwrap()]).await;
    until(&consumer, |stats| stats.duplicates == 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.seen.open();
    until(&consumer, |stats| stats.applied == 4).await;
    let stats = consumer.shutdown().await.unwrap();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let expected = |count: u64| count as f64;
    for (name, count) in [
        (names::CONSUMER_PROCESSED_TOTAL, stats.applied),
        (names::INBOX_DUPLICATES_TOTAL, stats.duplicates),
        (names::CONSUMER_RETRIES_TOTAL, stats.retried),
        (names::CONSUMER_DEAD_TOTAL, stats.dead),
    ] {
        assert!(count > 0, "{stats:?}");
        assert!((total(name) - expected(count)).abs() < f64::EPSILON, "{name}: {stats:?}");
    }
    ledger.assert_moved(names::CONSUMER);
    let handled = ledger.values(&format!("{}{{consumer=billing}}", names::CONSUMER_HANDLE_SECONDS));
    // Four that worked, two that failed, one that was rejected, one that came twice.
    assert_eq!(handled.len(), 8);
    let running = ledger.values(&format!("{}{{consumer=billing}}", names::CONSUMER_IN_FLIGHT));
    assert!(running.contains(&1.0), "the one that waits: {running:?}");
    assert!(running.last().is_some_and(|last| *last < 0.5), "none in the end: {running:?}");
}
