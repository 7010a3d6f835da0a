//! How rows are divided among relays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{
    ClaimSource, OperatorAction, OutboxAdmin, OutboxMessage, OutboxStore, Scope, ShardId, ShardSet,
    StoreErrorKind, StoredMessage,
};

use super::message::{keyed, messages};
use super::relay::{BRIEF, MANY, TestRelay, delivered, ids, seqs};
use crate::StoreFixture;

/// Every row is in exactly one shard, all rows of a key in the same, and a claim returns the rows of its shards only.
pub async fn shards_partition_the_rows<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&mixed(300)).await;
    let all = relay.fresh().await;
    assert_eq!(all.len(), 300);

    let mut union = Vec::new();
    for shard in 0..relay.shard_count {
        let scope = only(relay.shard_count, [shard]);
        let rows = relay.claim_in(&scope, ClaimSource::Fresh { after: 0 }).await;
        assert!(rows.iter().all(|row| row.shard == shard));
        assert_eq!(relay.store.scan(&scope, 0, i64::MAX, MANY).await.unwrap(), seqs(&rows));
        union.extend(seqs(&rows));
    }
    union.sort_unstable();
    assert_eq!(union, seqs(&all), "all rows, each once");
    one_shard_per_key(&all);
    let used: BTreeSet<ShardId> = all.iter().map(|row| row.shard).collect();
    assert!(used.len() * 2 > usize::from(relay.shard_count), "the rows are spread: {used:?}");

    let half = only(relay.shard_count, (0..relay.shard_count).step_by(2));
    let rows = relay.claim_in(&half, ClaimSource::Fresh { after: 0 }).await;
    let expected: Vec<_> = all.iter().filter(|row| row.shard % 2 == 0).map(|row| row.seq).collect();
    assert_eq!(seqs(&rows), expected, "several shards at once, still by seq");
    let none = only(relay.shard_count, []);
    assert!(relay.claim_in(&none, ClaimSource::Fresh { after: 0 }).await.is_empty());
}

/// A row keeps its shard in every table, and every read keeps to the shards it was asked for.
pub async fn shards_hold_for_every_read<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let mut shard_of_key = BTreeMap::new();
    for number in 0..12 {
        let blocked: Vec<_> = (0..2).map(|_| keyed(&format!("blocked {number}"))).collect();
        let parked = keyed(&format!("parked {number}"));
        fixture.enqueue(&blocked).await;
        fixture.enqueue(std::slice::from_ref(&parked)).await;
        for row in relay.fresh().await {
            shard_of_key.insert(row.message.ordering_key().unwrap().clone(), row.shard);
        }
        relay.block(&blocked, Duration::ZERO).await;
        relay.park(std::slice::from_ref(&parked)).await;
        relay.asked(&parked, OperatorAction::Replay).await;
    }
    let keys: Vec<_> = shard_of_key.keys().cloned().collect();
    let (mut due, mut held, mut holds, mut requests) = (0, 0, 0, 0);
    for shard in 0..relay.shard_count {
        let scope = only(relay.shard_count, [shard]);
        let right = |row: &StoredMessage| {
            row.shard == shard && shard_of_key[row.message.ordering_key().unwrap()] == shard
        };
        let rows = relay.claim_in(&scope, ClaimSource::Due { after: None }).await;
        assert!(rows.iter().all(right));
        assert_eq!(relay.store.next_due(&scope).await.unwrap().is_some(), !rows.is_empty());
        due += rows.len();
        let rows = relay.claim_in(&scope, ClaimSource::Held { keys: keys.clone(), after: 0 }).await;
        assert!(rows.iter().all(right));
        held += rows.len();
        let found = relay.store.holds(&scope, None, MANY).await.unwrap();
        assert!(found.iter().all(|hold| hold.shard == shard && shard_of_key[&hold.key] == shard));
        holds += found.len();
        let found = relay.store.requests(&scope, MANY).await.unwrap();
        assert!(found.iter().all(|request| request.shard == shard));
        requests += found.len();
    }
    assert_eq!((due, held, holds, requests), (12, 12, 24, 12), "each once");
}

/// The number of shards changes only while no lease is held; then every row is in a shard of the new number, and each
/// key still in one.
pub async fn the_count_changes_without_leases_only<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let most = relay.store.capabilities().max_shards;
    fixture.enqueue(&mixed(100)).await;
    let before = relay.fresh().await;
    let count = if relay.shard_count == most { 1 } else { most };
    if most > 1 {
        let refused = relay.store.set_shard_count(count).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Invalid, "{refused}");
        assert_eq!(ids(&relay.fresh().await), ids(&before), "nothing happened");
        assert_eq!(relay.renew(super::relay::LONG).await.owned.len(), relay.owned.len());
    }
    relay.store.release(&relay.fence()).await.unwrap();
    relay.store.set_shard_count(count).await.unwrap();

    let mut relay = TestRelay::owner(&*fixture).await;
    assert_eq!(relay.shard_count, count);
    let after = relay.fresh().await;
    assert_eq!(ids(&after), ids(&before));
    assert!(after.iter().all(|row| row.shard < count));
    one_shard_per_key(&after);
    let leased = relay.acquire(MANY).await;
    assert!(leased.is_empty(), "it owned them all: {leased:?}");
}

/// A number that is no power of two, or too large, is refused.
pub async fn an_impossible_count_is_refused<F: StoreFixture>(fixture: Arc<F>) {
    let store = fixture.store();
    let most = store.capabilities().max_shards;
    for count in [0, 3, 12, 63, most.saturating_mul(2), u8::MAX] {
        let refused = store.set_shard_count(count).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Invalid, "{count}: {refused}");
    }
    assert!(TestRelay::idle(&*fixture).await.shard_count <= most, "as it was");
}

/// A relay whose lease ran out before the number of shards changed can settle nothing afterwards.
pub async fn a_fence_from_before_the_change_is_stale<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let store = &relay.store;
    let most = store.capabilities().max_shards;
    if most < 2 {
        return;
    }
    let count = if relay.shard_count == most { most / 2 } else { most };
    fixture.enqueue(&messages(1)).await;
    let rows = relay.fresh().await;
    relay.renew(BRIEF).await;
    super::eventually::eventually("the lease runs out", async || store.set_shard_count(count).await.ok())
        .await;
    let settled = relay.settle_with(&relay.fence(), &delivered(&rows)).await;
    assert_eq!((settled.applied, settled.stale), (0, true));
    let next = TestRelay::owner(&*fixture).await;
    assert_eq!(ids(&next.fresh().await), ids(&rows), "its successor delivers them");
    let settled = relay.settle_with(&relay.fence(), &delivered(&rows)).await;
    assert!(settled.stale, "also after the new shards were taken");
}

/// Messages with and without keys, several of each key.
fn mixed(count: usize) -> Vec<OutboxMessage> {
    let mut batch = messages(count / 2);
    batch.extend((batch.len()..count).map(|number| keyed(&format!("key {}", number % 40))));
    batch
}

fn only(count: u8, shards: impl IntoIterator<Item = ShardId>) -> Scope {
    Scope { shards: ShardSet::of(count, shards), topics: outbox_core::TopicFilter::all() }
}

fn one_shard_per_key(rows: &[StoredMessage]) {
    let mut shards = BTreeMap::new();
    for row in rows {
        if let Some(key) = row.message.ordering_key() {
            assert_eq!(*shards.entry(key).or_insert(row.shard), row.shard, "key {key}");
        }
    }
}
