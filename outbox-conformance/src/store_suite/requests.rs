//! What operators ask for, and what its being carried out does where no key is parked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outbox_core::{HoldState, Lane, MessageId, OperatorAction, OutboxAdmin, OutboxStore, Outcome};

use super::eventually::eventually;
use super::message::{ids_of, keyed, keyed_messages, message};
use super::relay::{MANY, TestRelay, find, ids, rejected, retry, row_of};
use crate::StoreFixture;

/// A dead message whose key is not parked, or that has none, comes back alone, due at once, in its old place.
pub async fn a_replay_without_parked_key_is_due_at_once<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = [message(), keyed("k"), keyed("k"), message()];
    fixture.enqueue(&batch).await;
    let rows = relay.fresh().await;
    relay.settle(&rows.iter().map(|row| (row.row, rejected())).collect::<Vec<_>>()).await;
    for (message, row) in batch[..2].iter().zip(&rows) {
        let asked = relay.asked(message, OperatorAction::Replay).await;
        assert_eq!(
            (asked.row.lane, asked.shard, asked.parked, asked.stops_key),
            (Lane::Dead, row.shard, false, false)
        );
        assert_eq!(relay.settle(&[(asked.row, Outcome::Replay)]).await, 1);
        let due = relay.due().await;
        let back = find(&due, message);
        assert_eq!((back.seq, back.attempts, back.held), (row.seq, 0, false));
    }
    let mut left: Vec<_> = relay.dead().await.iter().map(|letter| *letter.message.id()).collect();
    left.sort();
    assert_eq!(left, ids_of(&batch[2..]), "the others were not asked for");
    let asked = relay.asked(&batch[3], OperatorAction::Discard).await;
    assert_eq!(relay.settle(&[(asked.row, Outcome::Discard)]).await, 1);
    assert_eq!(relay.dead().await.len(), 1);
    assert_eq!(relay.due().await.len(), 2, "nothing comes back from a discard");
}

/// A blocked head that is replayed becomes due at once.
pub async fn a_replayed_blocked_head_is_due_at_once<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 2);
    fixture.enqueue(&batch).await;
    relay.block(&batch, Duration::from_secs(600)).await;
    assert!(relay.due().await.is_empty());
    let asked = relay.asked(&batch[0], OperatorAction::Replay).await;
    assert_eq!((asked.row.lane, asked.parked, asked.stops_key), (Lane::Deferred, false, false));
    assert_eq!(relay.settle(&[(asked.row, Outcome::Replay)]).await, 1);
    assert_eq!(ids(&relay.due().await), ids_of(&batch[..1]));
    assert_eq!(ids(&relay.held("k").await), ids_of(&batch[1..]), "its followers still wait");
    assert!(relay.requests().await.is_empty());
    assert!(matches!(relay.hold("k").await, Some(HoldState::Retrying { .. })));
}

/// A blocked head that is discarded is gone, and its followers can go.
pub async fn a_discarded_blocked_head_releases_its_followers<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 3);
    fixture.enqueue(&batch).await;
    relay.block(&batch, Duration::from_secs(600)).await;
    let asked = relay.asked(&batch[0], OperatorAction::Discard).await;
    assert_eq!(relay.settle(&[(asked.row, Outcome::Discard)]).await, 1);
    assert!(matches!(relay.hold("k").await, Some(HoldState::Releasing { .. })));
    assert_eq!(ids(&relay.held("k").await), ids_of(&batch[1..]));
    assert!(relay.requests().await.is_empty());
    assert!(relay.dead().await.is_empty());
}

/// Only dead letters and blocked heads can be asked for; everything else is ignored.
pub async fn only_what_stands_still_can_be_asked_for<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let blocked = keyed_messages("blocked", 2);
    let dead = [message(), message()];
    let fresh = message();
    fixture.enqueue(&blocked).await;
    relay.block(&blocked, Duration::from_secs(600)).await;
    fixture.enqueue(&dead).await;
    let rows = relay.fresh().await;
    relay.settle(&rows.iter().map(|row| (row.row, rejected())).collect::<Vec<_>>()).await;
    fixture.enqueue(std::slice::from_ref(&fresh)).await;

    let all =
        [*fresh.id(), *blocked[1].id(), MessageId::new(), *dead[0].id(), *blocked[0].id(), *dead[1].id()];
    assert_eq!(
        relay.store.request(&all[..3], OperatorAction::Discard).await.unwrap(),
        0,
        "fresh, held, unknown"
    );
    assert!(relay.requests().await.is_empty());
    assert_eq!(relay.store.request(&all, OperatorAction::Replay).await.unwrap(), 3);
    assert_eq!(relay.store.request(&[], OperatorAction::Replay).await.unwrap(), 0);
    let mut asked: Vec<_> = relay.requests().await.iter().map(|request| request.id).collect();
    asked.sort();
    let mut expected = all[3..].to_vec();
    expected.sort();
    assert_eq!(asked, expected);
    assert_eq!(relay.dead_letter(&dead[0]).await.unwrap().requested, Some(OperatorAction::Replay));
    assert_eq!(relay.dead().await.len(), 2, "nothing happens before a relay does it");
}

/// Requests come the oldest first, at most `limit`, and only while their row stands still.
pub async fn requests_come_the_oldest_first<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch: Vec<_> = (0..4).map(|number| keyed(&format!("key {number}"))).collect();
    fixture.enqueue(&batch).await;
    for message in &batch {
        relay.block(std::slice::from_ref(message), Duration::ZERO).await;
    }
    for index in [2, 0, 3, 1] {
        relay.asked(&batch[index], OperatorAction::Discard).await;
        // The clock of SQLite counts milliseconds.
        let next = SystemTime::now() + Duration::from_millis(2);
        eventually("the clock has gone on", async || (SystemTime::now() >= next).then_some(())).await;
    }
    let expected: Vec<_> = [2, 0, 3, 1].map(|index| *batch[index].id()).to_vec();
    let asked = async |limit| -> Vec<MessageId> {
        let requests = relay.store.requests(&relay.scope(), limit).await.unwrap();
        requests.iter().map(|request| request.id).collect()
    };
    assert_eq!(asked(MANY).await, expected);
    assert_eq!(asked(2).await, expected[..2]);
    let due = eventually("all are due", async || {
        let due = relay.due().await;
        (due.len() == 4).then_some(due)
    })
    .await;
    relay.settle(&[(row_of(&due, &batch[2]), Outcome::Delivered)]).await;
    assert_eq!(asked(MANY).await, expected[1..], "what is delivered can't be discarded");
    relay.settle(&[(row_of(&due, &batch[0]), retry(2, Duration::from_secs(600)))]).await;
    assert_eq!(asked(MANY).await, expected[1..], "a further try leaves the request as it is");
}
