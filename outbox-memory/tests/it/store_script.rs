use std::sync::Arc;
use std::time::Duration;

use outbox_core::{
    ClaimRequest, ClaimSource, Fence, LeaseRequest, OutboxMessage, OutboxStore, OutboxWriter, Outcome,
    RelayId, RowId, Scope, ShardSet, StoreErrorKind, TopicFilter, Wakeup,
};
use outbox_memory::{MemoryStore, MemoryWriter};
use tokio::time::{Instant, timeout};

fn message() -> OutboxMessage {
    OutboxMessage::bytes("t", "x").unwrap().ordering_key("k").build().unwrap()
}

fn request(ttl: Duration) -> LeaseRequest {
    LeaseRequest { relay: RelayId::new(), ttl, label: "test".to_owned() }
}

async fn own_everything(store: &MemoryStore) -> Fence {
    let request = request(Duration::from_secs(60));
    let leased = store.acquire(&request, 64).await.unwrap();
    Fence::new(request.relay, leased.iter().map(|shard| (shard.shard, shard.epoch)))
}

#[tokio::test]
async fn a_planned_failure_happens_once_and_changes_nothing() {
    let store = MemoryStore::new();
    store.enqueue_all(&[message()]);
    let fence = own_everything(&store).await;
    let outcomes = [(RowId::fresh(1), Outcome::Delivered)];
    store.fail_next("settle", StoreErrorKind::Conflict);
    let error = store.settle(&fence, &outcomes).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (StoreErrorKind::Conflict, "settle"));
    assert_eq!(store.pending().len(), 1);
    assert_eq!(store.settle(&fence, &outcomes).await.unwrap().applied, 1);
    assert_eq!((store.calls("settle"), store.calls("acquire"), store.all_calls()), (2, 1, 3));
}

#[tokio::test]
async fn a_lost_reply_is_an_error_after_the_fact() {
    let store = MemoryStore::new();
    store.enqueue_all(&[message()]);
    let fence = own_everything(&store).await;
    store.lose_next_reply("settle", StoreErrorKind::Unavailable);
    let outcomes = [(RowId::fresh(1), Outcome::Delivered)];
    assert_eq!(store.settle(&fence, &outcomes).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert!(store.pending().is_empty());
}

#[tokio::test]
async fn a_store_that_is_down_refuses_everything() {
    let store = MemoryStore::new();
    store.down();
    assert_eq!(store.check().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert!(MemoryWriter.enqueue(&mut store.begin(), &message()).await.is_err());
    store.up();
    store.check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn time_is_tokios() {
    let store = MemoryStore::new();
    let sent = message();
    store.enqueue_all(std::slice::from_ref(&sent));
    let fence = own_everything(&store).await;
    let hour = Duration::from_secs(3_600);
    let retry = Outcome::Retry { attempts: 1, after: hour, error: String::new() };
    store.settle(&fence, &[(RowId::fresh(1), retry)]).await.unwrap();
    let scope = Scope { shards: ShardSet::all(16), topics: TopicFilter::all() };
    assert_eq!(store.next_due(&scope).await.unwrap(), Some(hour));
    tokio::time::advance(hour).await;
    assert_eq!(store.next_due(&scope).await.unwrap(), Some(Duration::ZERO));
    assert_eq!(store.deferred(), [sent]);
    let leased = store.acquire(&request(hour), 64).await.unwrap();
    assert_eq!((leased.len(), leased[0].unclean_takeovers), (16, 1), "the leases have run out as well");
}

#[tokio::test(start_paused = true)]
async fn latency_is_waited_for() {
    let store = MemoryStore::new();
    store.set_latency(Duration::from_secs(2));
    let before = Instant::now();
    store.check().await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn a_commit_wakes_and_a_rollback_does_not() {
    let store = MemoryStore::new();
    let mut wakeup = store.wakeup();
    let brief = Duration::from_millis(20);
    let mut transaction = store.begin();
    transaction.enqueue(&message());
    transaction.rollback();
    assert!(timeout(brief, wakeup.wait()).await.is_err());
    store.enqueue_all(&[message()]);
    timeout(Duration::from_secs(10), wakeup.wait()).await.unwrap();
    assert!(timeout(brief, wakeup.wait()).await.is_err(), "once");
}

#[tokio::test]
async fn a_payload_is_never_copied() {
    let store = MemoryStore::new();
    let sent = message();
    store.enqueue_all(std::slice::from_ref(&sent));
    let scope = Scope { shards: ShardSet::all(16), topics: TopicFilter::all() };
    let source = ClaimSource::Fresh { after: 0 };
    let claim = store.claim(&ClaimRequest { scope, source, limit: 1, max_bytes: 1 }).await.unwrap();
    assert_eq!(claim.rows[0].message.payload().as_ptr(), sent.payload().as_ptr());
}

#[tokio::test]
async fn it_can_stand_behind_a_pointer() {
    let store: Arc<dyn OutboxStore> = Arc::new(MemoryStore::with_shards(3));
    let lease = store.renew(&request(Duration::from_secs(1))).await.unwrap();
    assert_eq!(lease.shard_count, 4, "rounded up to a power of two");
}
