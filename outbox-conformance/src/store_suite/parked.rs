//! Keys that ended in the dead letters, and what operators ask for.

use std::sync::Arc;

use outbox_core::{
    ClaimSource, HoldState, Lane, OperatorAction, OrderingKey, OutboxAdmin, OutboxStore, Outcome,
    StoredMessage,
};

use super::message::{ids_of, keyed, keyed_messages};
use super::relay::{TestRelay, delivered, ids, rejected, seqs};
use crate::StoreFixture;

/// That a key is parked, and at which message, is stored with its dead letters.
pub async fn a_parked_key_is_remembered<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 3);
    fixture.enqueue(&batch).await;
    relay.park(&batch).await;
    assert!(relay.store.is_empty().await.unwrap());
    assert_eq!(relay.hold("k").await, Some(HoldState::Parked { behind: *batch[0].id() }));
    for message in &batch {
        assert_eq!(relay.dead_letter(message).await.unwrap().parked_behind, Some(*batch[0].id()));
    }
}

/// A dead message whose key is not parked holds nothing.
pub async fn a_skipped_message_holds_nothing<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let sent = keyed("k");
    fixture.enqueue(std::slice::from_ref(&sent)).await;
    let row = relay.fresh_row(&sent).await;
    relay.settle(&[(row, rejected())]).await;
    assert_eq!(relay.hold("k").await, None);
}

/// A replay moves the whole key back, in its old order and without tries; it does not flow before all of that is
/// delivered.
pub async fn a_replay_moves_the_whole_key<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 4);
    let other = keyed_messages("other", 2);
    fixture.enqueue(&batch).await;
    fixture.enqueue(&other).await;
    let places = seqs(&relay.fresh().await)[..4].to_vec();
    relay.park(&batch).await;
    relay.park(&other).await;

    let asked = relay.asked(&batch[0], OperatorAction::Replay).await;
    assert_eq!((asked.row.lane, asked.key.unwrap().as_str()), (Lane::Dead, "k"));
    assert_eq!((asked.parked, asked.stops_key), (true, true));
    assert!(relay.settle(&[(asked.row, Outcome::Replay)]).await >= 1);

    let mut back = waiting(&relay, "k").await;
    back.sort_by_key(|row| row.seq);
    assert_eq!((ids(&back), seqs(&back)), (ids_of(&batch), places));
    assert!(back.iter().all(|row| row.attempts == 0));
    assert!(relay.requests().await.is_empty(), "the request is carried out");
    assert!(standing(&relay, "k").await, "the key waits until all of it is delivered");
    let dead = relay.dead().await;
    assert_eq!(dead.len(), 2, "the other key stays");
    assert_eq!(relay.hold("other").await, Some(HoldState::Parked { behind: *other[0].id() }));

    assert_eq!(relay.settle(&delivered(&back[..3])).await, 3);
    assert!(standing(&relay, "k").await, "one is left");
    assert_eq!(relay.settle(&delivered(&back[3..])).await, 1);
    assert_eq!(relay.hold("k").await, None);
}

/// A key with one parked message is held after a replay as well: what is written meanwhile does not overtake it.
pub async fn a_replayed_head_holds_its_key<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 1);
    fixture.enqueue(&batch).await;
    relay.park(&batch).await;
    let asked = relay.asked(&batch[0], OperatorAction::Replay).await;
    assert_eq!(relay.settle(&[(asked.row, Outcome::Replay)]).await, 1);
    assert!(standing(&relay, "k").await);
    let back = waiting(&relay, "k").await;
    assert_eq!(ids(&back), ids_of(&batch));
    assert_eq!(relay.settle(&delivered(&back)).await, 1);
    assert_eq!(relay.hold("k").await, None);
}

/// Whichever message of a parked key is replayed, the whole key moves.
pub async fn a_replayed_follower_takes_its_key_along<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 3);
    fixture.enqueue(&batch).await;
    relay.park(&batch).await;
    let asked = relay.asked(&batch[2], OperatorAction::Replay).await;
    assert_eq!((asked.parked, asked.stops_key), (true, false));
    relay.settle(&[(asked.row, Outcome::Replay)]).await;
    assert!(relay.dead().await.is_empty());
    let mut back = waiting(&relay, "k").await;
    back.sort_by_key(|row| row.seq);
    assert_eq!(ids(&back), ids_of(&batch));
}

/// What another destination has parked of the same key stays where it is, and what was asked about it is still asked.
pub async fn a_replay_leaves_what_stopped_elsewhere<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 5);
    fixture.enqueue(&batch).await;
    let (one, other) = batch.split_at(2);
    relay.park(one).await;
    relay.park(other).await;
    let asked = relay.asked(&one[1], OperatorAction::Replay).await;
    let still = relay.asked(&other[1], OperatorAction::Replay).await;
    assert!(relay.settle(&[(asked.row, Outcome::Replay)]).await >= 2);
    assert_eq!(ids(&waiting(&relay, "k").await), ids_of(one));
    let mut left: Vec<_> = relay.dead().await.iter().map(|letter| *letter.message.id()).collect();
    left.sort();
    assert_eq!(left, ids_of(other));
    assert_eq!(relay.requests().await, [still]);
    let head = relay.asked(&other[0], OperatorAction::Discard).await;
    relay.settle(&[(head.row, Outcome::Discard)]).await;
    assert!(relay.dead().await.is_empty());
    let mut back = ids(&waiting(&relay, "k").await);
    back.sort();
    assert_eq!(back, ids_of(&[one, &other[1..]].concat()));
}

/// A message of the same key that was skipped before is not part of what is parked: it stays dead.
pub async fn a_skipped_message_is_not_taken_along<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 3);
    fixture.enqueue(&batch).await;
    let skipped = relay.fresh_row(&batch[0]).await;
    relay.settle(&[(skipped, rejected())]).await;
    relay.park(&batch[1..]).await;
    let asked = relay.asked(&batch[2], OperatorAction::Replay).await;
    relay.settle(&[(asked.row, Outcome::Replay)]).await;
    let mut back = waiting(&relay, "k").await;
    back.sort_by_key(|row| row.seq);
    assert_eq!(ids(&back), ids_of(&batch[1..]));
    let left: Vec<_> = relay.dead().await.iter().map(|letter| *letter.message.id()).collect();
    assert_eq!(left, ids_of(&batch[..1]));
}

/// Discarding the head of a parked key removes it and releases the rest, in order.
pub async fn discarding_the_head_releases_its_followers<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 3);
    fixture.enqueue(&batch).await;
    relay.park(&batch).await;
    let asked = relay.asked(&batch[0], OperatorAction::Discard).await;
    assert!(relay.settle(&[(asked.row, Outcome::Discard)]).await >= 1);
    assert!(relay.dead().await.is_empty());
    assert!(relay.requests().await.is_empty());
    assert!(standing(&relay, "k").await);
    let mut back = waiting(&relay, "k").await;
    back.sort_by_key(|row| row.seq);
    assert_eq!(ids(&back), ids_of(&batch[1..]));
    assert!(back.iter().all(|row| row.attempts == 0));
}

/// Discarding a follower removes that one; the key stays parked.
pub async fn discarding_a_follower_keeps_the_key_parked<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 3);
    fixture.enqueue(&batch).await;
    relay.park(&batch).await;
    let asked = relay.asked(&batch[1], OperatorAction::Discard).await;
    assert_eq!(relay.settle(&[(asked.row, Outcome::Discard)]).await, 1);
    assert_eq!(relay.hold("k").await, Some(HoldState::Parked { behind: *batch[0].id() }));
    assert!(relay.dead_letter(&batch[1]).await.is_none());
    assert_eq!(relay.dead().await.len(), 2);
    assert!(relay.store.is_empty().await.unwrap());
}

/// Several requests for one key can be carried out in one settle.
pub async fn a_follower_is_discarded_while_its_key_is_replayed<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 3);
    fixture.enqueue(&batch).await;
    relay.park(&batch).await;
    let replay = relay.asked(&batch[0], OperatorAction::Replay).await;
    let discard = relay.asked(&batch[1], OperatorAction::Discard).await;
    relay.settle(&[(replay.row, Outcome::Replay), (discard.row, Outcome::Discard)]).await;
    assert!(relay.dead().await.is_empty());
    let mut back = waiting(&relay, "k").await;
    back.sort_by_key(|row| row.seq);
    assert_eq!(ids(&back), [*batch[0].id(), *batch[2].id()]);
    assert!(relay.requests().await.is_empty());
}

/// What waits of a key, whether for a time that has come or behind another.
async fn waiting<S: OutboxStore + OutboxAdmin>(relay: &TestRelay<S>, key: &str) -> Vec<StoredMessage> {
    let wanted = OrderingKey::stored(key);
    let mut rows = relay.due().await;
    rows.retain(|row| row.message.ordering_key() == Some(&wanted));
    rows.extend(relay.claim(ClaimSource::Held { keys: vec![wanted], after: 0 }).await);
    rows
}

/// Whether the key does not flow, and is not parked.
async fn standing<S: OutboxStore + OutboxAdmin>(relay: &TestRelay<S>, key: &str) -> bool {
    matches!(relay.hold(key).await, Some(HoldState::Releasing { .. } | HoldState::Retrying { .. }))
}
