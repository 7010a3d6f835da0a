use std::time::Duration;

use outbox_core::{
    ClaimRequest, ClaimSource, Fence, LeaseRequest, OutboxStore, Outcome, RelayId, Scope, ShardSet,
    TopicFilter,
};
use outbox_memory::{Engine, MemoryTransport};
use outbox_relay::{Relay, RelayHandle};

use super::work::{count, numbers, pending};

pub(super) async fn relay<K, S>(engine: &Engine<K, S>, broker: &MemoryTransport) -> RelayHandle {
    let outbox = engine.outbox();
    let wakeup = outbox.wakeup();
    Relay::new(outbox, broker.clone()).wakeup(wakeup).seed(7).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_relay_delivers_what_is_committed_once_and_in_order() {
    let engine: Engine<String, u64> = Engine::new();
    let broker = MemoryTransport::new();
    engine.run("a", count("a")).await.unwrap();
    let relay = relay(&engine, &broker).await;
    for _ in 0..4 {
        engine.run("a", count("a")).await.unwrap();
    }
    relay.drained().await.unwrap();
    assert_eq!(numbers(&broker.delivered()), [1, 2, 3, 4, 5]);
    assert!(engine.outbox().is_empty().await.unwrap(), "what is delivered is cleared");
    assert_eq!(*engine.state("a"), 5);
    relay.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_commit_wakes_the_relay() {
    let engine: Engine<String, u64> = Engine::new();
    let broker = MemoryTransport::new();
    let relay = relay(&engine, &broker).await;
    // Long enough that the relay polls as seldom as it ever does.
    tokio::time::sleep(Duration::from_secs(600)).await;
    engine.run("a", count("a")).await.unwrap();
    tokio::time::timeout(Duration::from_millis(50), broker.wait_for(1)).await.unwrap();
    relay.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_engine_goes_on_while_the_broker_is_away() {
    let engine: Engine<String, u64> = Engine::new();
    let broker = MemoryTransport::new();
    broker.down();
    let relay = relay(&engine, &broker).await;
    for _ in 0..100 {
        engine.run("a", count("a")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((engine.state("a").version(), broker.delivered().len()), (100, 0));
    broker.up();
    relay.drained().await.unwrap();
    assert_eq!(numbers(&broker.delivered()), (1..=100).collect::<Vec<_>>());
    relay.shutdown().await.unwrap();
}

/// What is committed between the relay's read and its settle is neither delivered nor cleared by it, and whoever lost its
/// shards clears nothing.
#[tokio::test]
async fn what_was_delivered_is_cleared_by_compare_and_swap() {
    let engine: Engine<String, u64> = Engine::new();
    let outbox = engine.outbox();
    engine.run("a", count("a")).await.unwrap();
    let first = own_everything(&outbox).await;
    let scope = Scope { shards: ShardSet::all(16), topics: TopicFilter::all() };
    let request = ClaimRequest { scope, source: ClaimSource::Fresh { after: 0 }, limit: 9, max_bytes: 9_999 };
    let read = outbox.claim(&request).await.unwrap().rows;
    let delivered: Vec<_> = read.iter().map(|row| (row.row, Outcome::Delivered)).collect();
    engine.run("a", count("a")).await.unwrap();
    let second = own_everything(&outbox).await;
    assert!(outbox.settle(&first, &delivered).await.unwrap().stale);
    assert_eq!(pending(&engine), [1, 2]);
    assert_eq!(outbox.settle(&second, &delivered).await.unwrap().applied, 1);
    assert_eq!(pending(&engine), [2]);
    assert_eq!(outbox.settle(&second, &delivered).await.unwrap().applied, 0, "once");
}

/// Takes every shard, also from one that has it.
async fn own_everything(outbox: &outbox_memory::MemoryStore) -> Fence {
    let request = LeaseRequest { relay: RelayId::new(), ttl: Duration::ZERO, label: "test".to_owned() };
    let leased = outbox.acquire(&request, 64).await.unwrap();
    Fence::new(request.relay, leased.iter().map(|shard| (shard.shard, shard.epoch)))
}
