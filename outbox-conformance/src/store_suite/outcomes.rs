//! Where each outcome puts a row, and in which state.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{DeadReason, HoldState, OutboxMessage, OutboxStore, Outcome};

use super::message::{delayed, ids_of, keyed, keyed_messages, messages};
use super::relay::{TestRelay, delivered, ids, retry};
use crate::StoreFixture;

/// A retried row waits in the deferred table with its place, its tries and its time.
pub async fn a_retried_row_waits<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let sent = keyed("k");
    fixture.enqueue(std::slice::from_ref(&sent)).await;
    let fresh = relay.fresh().await;
    let wait = Duration::from_secs(300);
    assert_eq!(relay.settle(&[(fresh[0].row, retry(2, wait))]).await, 1);
    assert!(relay.fresh().await.is_empty());
    assert!(relay.due().await.is_empty(), "its time has not come");
    let left = relay.next_due().await.unwrap();
    assert!(left <= wait && left > wait - Duration::from_secs(60), "{left:?}");
    let head = HoldState::Retrying { head: *sent.id(), seq: fresh[0].seq };
    assert_eq!(relay.hold("k").await, Some(head));
    assert!(relay.held("k").await.is_empty(), "it waits for a time, not for another");
}

/// A row whose try is about to begin is in the deferred table, with that try counted, and due at once.
pub async fn a_begun_row_is_counted_and_due<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let sent = keyed("k");
    fixture.enqueue(std::slice::from_ref(&sent)).await;
    let fresh = relay.fresh().await;
    assert_eq!(relay.settle(&[(fresh[0].row, Outcome::Begin { attempts: 1 })]).await, 1);
    assert!(relay.fresh().await.is_empty());
    let due = relay.due().await;
    assert_eq!(ids(&due), [*sent.id()]);
    assert_eq!((due[0].attempts, due[0].seq, due[0].held), (1, fresh[0].seq, false));
    assert_eq!(relay.hold("k").await, Some(HoldState::Retrying { head: *sent.id(), seq: fresh[0].seq }));

    assert_eq!(relay.settle(&[(due[0].row, Outcome::Begin { attempts: 2 })]).await, 1);
    let again = relay.due().await;
    assert_eq!((ids(&again), again[0].attempts), (vec![*sent.id()], 2), "also for a deferred row");
    assert_eq!(relay.settle(&delivered(&again)).await, 1);
    assert!(relay.store.is_empty().await.unwrap());
    assert_eq!(relay.hold("k").await, None);
}

/// A held row waits behind another, without a time of its own.
pub async fn a_held_row_waits_for_another<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 2);
    fixture.enqueue(&batch).await;
    let fresh = relay.fresh().await;
    assert_eq!(relay.settle(&[(fresh[1].row, Outcome::Hold { behind: *batch[0].id() })]).await, 1);
    assert_eq!(ids(&relay.fresh().await), ids_of(&batch[..1]));
    assert!(relay.due().await.is_empty());
    assert_eq!(relay.next_due().await, None);
    let held = relay.held("k").await;
    assert_eq!(ids(&held), ids_of(&batch[1..]));
    assert_eq!((held[0].seq, held[0].attempts, held[0].held), (fresh[1].seq, 0, true));
    assert_eq!(held[0].due_position, None);
}

/// A delayed row waits until its `available_at`; no try is used, and it does not hold its key.
pub async fn a_delayed_row_waits_for_its_time<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let wait = Duration::from_secs(300);
    // The clock of SQLite counts milliseconds, and may be behind by as much.
    let is_sqlite = relay.store.capabilities().name == "sqlite";
    let most = if is_sqlite { wait + Duration::from_millis(1) } else { wait };
    let is_left = |left: Duration| left <= most && left > wait - Duration::from_secs(60);
    let sent = {
        let mut parts = delayed(wait).into_parts();
        parts.ordering_key = keyed("k").ordering_key().cloned();
        OutboxMessage::stored(parts)
    };
    fixture.enqueue(std::slice::from_ref(&sent)).await;
    let fresh = relay.fresh().await;
    assert_eq!(ids(&fresh), [*sent.id()], "a claim does not filter on the time");
    let left = fresh[0].due_in.expect("it is not due yet");
    assert!(is_left(left), "{left:?}");
    assert_eq!(relay.settle(&[(fresh[0].row, Outcome::Delay)]).await, 1);
    assert!(relay.fresh().await.is_empty());
    assert!(relay.due().await.is_empty());
    let left = relay.next_due().await.unwrap();
    assert!(is_left(left), "{left:?}");
    assert_eq!(relay.hold("k").await, None, "what was never tried holds nothing");
}

/// A dead row is in the dead letters with everything that was said about it, from either table.
pub async fn a_dead_row_is_a_dead_letter<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = messages(2);
    fixture.enqueue(&batch).await;
    let fresh = relay.fresh().await;
    relay.settle(&[(fresh[1].row, retry(1, Duration::ZERO))]).await;
    let due = relay.due().await;
    let dead = |attempts, reason, error: Option<&str>, parked_behind| Outcome::Dead {
        attempts,
        reason,
        error: error.map(str::to_owned),
        parked_behind,
    };
    let outcomes = [
        (fresh[0].row, dead(0, DeadReason::CrashedRelay, None, None)),
        (due[0].row, dead(7, DeadReason::AttemptsExhausted, Some("still no"), Some(*batch[1].id()))),
    ];
    assert_eq!(relay.settle(&outcomes).await, 2);
    assert!(relay.store.is_empty().await.unwrap());
    let first = relay.dead_letter(&batch[0]).await.unwrap();
    assert_eq!((first.reason.as_str(), first.attempts), (DeadReason::CrashedRelay.as_str(), 0));
    assert_eq!((first.last_error, first.parked_behind, first.requested), (None, None, None));
    let second = relay.dead_letter(&batch[1]).await.unwrap();
    assert_eq!((second.reason.as_str(), second.attempts), (DeadReason::AttemptsExhausted.as_str(), 7));
    assert_eq!(second.last_error.as_deref(), Some("still no"));
    assert_eq!((second.parked_behind, second.seq), (Some(*batch[1].id()), fresh[1].seq));
}
