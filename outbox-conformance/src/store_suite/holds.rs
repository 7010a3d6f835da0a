//! Which keys do not flow, and why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{DeadReason, HoldState, KeyHold, OrderingKey, OutboxMessage, OutboxStore, Outcome};

use super::message::{keyed, keyed_messages, message};
use super::relay::{MANY, TestRelay, delivered, find, retry};
use crate::StoreFixture;

/// Each key that does not flow is listed once, with its shard and its state; keys that flow and rows without a key are
/// not.
pub async fn every_standing_key_is_listed_once<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let retrying = keyed_messages("retrying", 3);
    let alone = keyed_messages("alone", 1);
    let releasing = keyed_messages("releasing", 3);
    let parked = keyed_messages("parked", 3);
    let flowing = [keyed("flowing"), message()];
    let mut shards = BTreeMap::new();
    for batch in [&retrying, &alone, &releasing, &parked] {
        fixture.enqueue(batch).await;
        let rows = relay.fresh().await;
        shards.insert(batch[0].ordering_key().unwrap().clone(), (rows[0].shard, rows[0].seq));
        if batch == &parked {
            relay.park(batch).await;
        } else {
            relay.block(batch, Duration::ZERO).await;
        }
    }
    let mut due = relay.due().await;
    due.retain(|row| row.message.id() == releasing[0].id());
    relay.settle(&delivered(&due)).await;
    let unkeyed = message();
    fixture.enqueue(std::slice::from_ref(&unkeyed)).await;
    let row = relay.fresh_row(&unkeyed).await;
    relay.settle(&[(row, retry(1, Duration::from_secs(600)))]).await;
    fixture.enqueue(&flowing).await;

    let holds = relay.store.holds(&relay.scope(), None, MANY).await.unwrap();
    let found: BTreeMap<_, _> = holds.iter().map(|hold| (hold.key.as_str(), hold)).collect();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["alone", "parked", "releasing", "retrying"]);
    assert_eq!(holds.len(), 4);
    let state = |key: &str| -> HoldState {
        let KeyHold { shard, state, key, .. } = found[key];
        assert_eq!(*shard, shards[key].0, "shard of {key}");
        *state
    };
    let seq = |key: &str| shards[&OrderingKey::stored(key)].1;
    assert_eq!(state("retrying"), HoldState::Retrying { head: *retrying[0].id(), seq: seq("retrying") });
    assert_eq!(state("alone"), HoldState::Retrying { head: *alone[0].id(), seq: seq("alone") });
    let first = find(&relay.held("releasing").await, &releasing[1]).seq;
    assert_eq!(state("releasing"), HoldState::Releasing { first });
    assert_eq!(state("parked"), HoldState::Parked { behind: *parked[0].id() });
}

/// Holds can be asked for by key, and are limited in number.
pub async fn holds_are_found_by_key<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    for number in 0..6 {
        let batch = keyed_messages(&format!("key {number}"), 1);
        fixture.enqueue(&batch).await;
        if number % 2 == 0 {
            relay.park(&batch).await;
        } else {
            relay.block(&batch, Duration::from_secs(600)).await;
        }
    }
    let scope = relay.scope();
    let keys = ["key 1", "key 4", "key 9", "key"].map(OrderingKey::stored);
    let mut found: Vec<_> = relay
        .store
        .holds(&scope, Some(&keys), MANY)
        .await
        .unwrap()
        .into_iter()
        .map(|hold| hold.key)
        .collect();
    found.sort();
    assert_eq!(found, keys[..2]);
    assert!(relay.store.holds(&scope, Some(&[]), MANY).await.unwrap().is_empty(), "of no key");
    for limit in [1, 4, 6] {
        assert_eq!(relay.store.holds(&scope, None, limit).await.unwrap().len(), limit);
    }
}

/// A key with parked messages is parked, also if others of it still wait, or were tried: nothing of it can go.
pub async fn parked_outweighs_what_waits<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 3);
    fixture.enqueue(&batch).await;
    relay.block(&batch, Duration::ZERO).await;
    let due = relay.due().await;
    assert_eq!(relay.settle(&[(due[0].row, parked_behind(&batch[0]))]).await, 1);
    let held = relay.held("k").await;
    assert_eq!(held.len(), 2);
    let parked = Some(HoldState::Parked { behind: *batch[0].id() });
    assert_eq!(relay.hold("k").await, parked);
    relay.settle(&[(held[1].row, retry(1, Duration::from_secs(600)))]).await;
    assert_eq!(relay.hold("k").await, parked);
}

fn parked_behind(head: &OutboxMessage) -> Outcome {
    Outcome::Dead {
        attempts: 1,
        reason: DeadReason::ParkedBehind,
        error: None,
        parked_behind: Some(*head.id()),
    }
}
