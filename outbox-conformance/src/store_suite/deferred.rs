//! What waits for a time or for another message.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{ClaimRequest, ClaimSource, HoldState, OrderingKey, OutboxStore, Outcome};

use super::eventually::eventually;
use super::message::{about, delayed, ids_of, keyed, keyed_messages, messages, now_in_micros};
use super::relay::{TestRelay, delivered, ids, rejected, retry, seqs};
use crate::StoreFixture;

/// A message with a future `available_at` falls due by itself, with no try used.
pub async fn delayed_rows_fall_due<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let sent = delayed(Duration::from_millis(400));
    fixture.enqueue(std::slice::from_ref(&sent)).await;
    let fresh = relay.fresh().await;
    relay.settle(&[(fresh[0].row, Outcome::Delay)]).await;
    let due = eventually("it falls due", async || relay.due().await.pop()).await;
    assert!(now_in_micros() >= sent.available_at().unwrap(), "not before its time");
    assert_eq!((due.message.id(), due.attempts, due.held), (sent.id(), 0, false));
    assert_eq!((due.seq, due.defect.as_ref()), (fresh[0].seq, None));
    assert!(due.due_position.is_some());
    assert_eq!(relay.next_due().await, Some(Duration::ZERO), "one is due");
    assert_eq!(relay.settle(&[(due.row, Outcome::Delivered)]).await, 1);
    assert_eq!(relay.next_due().await, None);
}

/// A past `available_at` is due at once.
pub async fn a_past_time_is_due<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let past = now_in_micros() - Duration::from_secs(3_600);
    let sent = about("suite.topic").available_at(past).build().unwrap();
    fixture.enqueue(std::slice::from_ref(&sent)).await;
    let rows = relay.fresh().await;
    assert_eq!(rows[0].due_in, None);
    assert_eq!(rows[0].message.available_at(), Some(past));
}

/// Due rows come by due time and then by number, and a claim after a position returns what follows it.
pub async fn due_rows_come_by_due_time<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = messages(6);
    fixture.enqueue(&batch).await;
    let rows = relay.fresh().await;
    // The later the row, the earlier its time; two settles, so that some times are equal and some are not.
    let waits = [90, 90, 60, 60, 30, 30].map(Duration::from_millis);
    let outcomes: Vec<_> = rows.iter().zip(waits).map(|(row, wait)| (row.row, retry(1, wait))).collect();
    relay.settle(&outcomes).await;
    let due = eventually("all fall due", async || {
        let due = relay.due().await;
        (due.len() == 6).then_some(due)
    })
    .await;
    let positions: Vec<_> = due.iter().map(|row| row.due_position.unwrap()).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    assert!(due.iter().all(|row| row.due_position.unwrap().number == row.row.number));
    let mut first: Vec<_> = ids(&due[..2]);
    first.sort();
    assert_eq!(first, ids_of(&batch[4..]), "the shortest wait comes first");
    for (index, position) in positions.iter().enumerate() {
        assert_eq!(ids(&relay.due_after(Some(*position)).await), ids(&due[index + 1..]));
    }
}

/// A read of due rows keeps to its limit and byte budget, and continues after the last position.
pub async fn due_rows_are_read_in_pages<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&messages(7)).await;
    let rows = relay.fresh().await;
    let outcomes: Vec<_> = rows.iter().map(|row| (row.row, retry(1, Duration::ZERO))).collect();
    relay.settle(&outcomes).await;
    let (mut after, mut found) = (None, Vec::new());
    for (limit, max_bytes, expected) in [(3, usize::MAX >> 1, 3), (100, 1, 1), (4, usize::MAX >> 1, 3)] {
        let source = ClaimSource::Due { after };
        let claim = relay
            .store
            .claim(&ClaimRequest { scope: relay.scope(), source, limit, max_bytes })
            .await
            .unwrap();
        assert_eq!((claim.rows.len(), claim.more), (expected, expected < 3 || limit == 3));
        after = claim.rows.last().unwrap().due_position;
        found.extend(seqs(&claim.rows));
    }
    found.sort_unstable();
    assert_eq!(found, seqs(&rows), "each once");
}

/// A deferred row that fails again keeps its place and gets the new number of tries and the new time.
pub async fn a_second_retry_replaces_the_first<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 1);
    fixture.enqueue(&batch).await;
    let seq = relay.fresh().await[0].seq;
    relay.block(&batch, Duration::ZERO).await;
    let due = relay.due().await;
    assert_eq!(relay.settle(&[(due[0].row, retry(2, Duration::from_secs(600)))]).await, 1);
    assert!(relay.due().await.is_empty(), "it waits for its new time");
    assert!(relay.next_due().await.unwrap() > Duration::from_secs(500));
    assert_eq!(relay.hold("k").await, Some(HoldState::Retrying { head: *batch[0].id(), seq }));
}

/// Held rows come by `seq`, those of the keys asked for, after a `seq`, at most `limit`.
pub async fn held_rows_come_by_seq<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch: Vec<_> = (0..12).map(|number| keyed(["a", "b", "c"][number % 3])).collect();
    fixture.enqueue(&batch).await;
    let fresh = relay.fresh().await;
    let behind = *batch[0].id();
    // The last row first, so that the number in the deferred table is not the order of `seq`.
    for row in fresh.iter().rev() {
        relay.settle(&[(row.row, Outcome::Hold { behind })]).await;
    }
    let of = |keys: &[&str]| -> Vec<i64> {
        let wanted = |key: &OrderingKey| keys.contains(&key.as_str());
        fresh.iter().filter(|row| row.message.ordering_key().is_some_and(wanted)).map(|row| row.seq).collect()
    };
    let keys = |keys: &[&str]| keys.iter().map(|key| OrderingKey::stored(key)).collect::<Vec<_>>();
    assert_eq!(seqs(&relay.held("b").await), of(&["b"]));
    let source = ClaimSource::Held { keys: keys(&["a", "c", "unknown"]), after: 0 };
    assert_eq!(seqs(&relay.claim(source).await), of(&["a", "c"]));
    let source = ClaimSource::Held { keys: keys(&["a"]), after: of(&["a"])[1] };
    assert_eq!(seqs(&relay.claim(source).await), of(&["a"])[2..]);
    let source = ClaimSource::Held { keys: keys(&["a", "b"]), after: 0 };
    let request = ClaimRequest { scope: relay.scope(), source, limit: 3, max_bytes: usize::MAX >> 1 };
    let claim = relay.store.claim(&request).await.unwrap();
    assert_eq!(seqs(&claim.rows), of(&["a", "b"])[..3]);
    assert!(claim.more);
    assert!(relay.claim(ClaimSource::Held { keys: Vec::new(), after: 0 }).await.is_empty());
}

/// A delayed row that falls due while its key is held joins the held ones; a held one can fail, and die, like any other.
pub async fn deferred_rows_change_what_they_wait_for<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let soon = now_in_micros() + Duration::from_millis(200);
    let later = about("suite.topic").ordering_key("k").available_at(soon).build().unwrap();
    let batch = [keyed("k"), later];
    fixture.enqueue(&batch).await;
    let rows = relay.fresh().await;
    let seq = rows[1].seq;
    relay.settle(&[(rows[1].row, Outcome::Delay)]).await;
    let due = eventually("it falls due", async || relay.due().await.pop()).await;
    relay.settle(&[(due.row, Outcome::Hold { behind: *batch[0].id() })]).await;
    assert!(relay.due().await.is_empty(), "it has no time of its own any more");
    let held = relay.held("k").await;
    assert_eq!((seqs(&held), held[0].attempts), (vec![seq], 0));

    relay.settle(&[(held[0].row, retry(1, Duration::ZERO))]).await;
    assert!(relay.held("k").await.is_empty(), "it waits for nobody any more");
    let due = relay.due().await;
    assert_eq!((seqs(&due), due[0].attempts, due[0].held), (vec![seq], 1, false));

    relay.settle(&[(due[0].row, rejected())]).await;
    assert!(relay.due().await.is_empty());
    assert_eq!(relay.dead().await[0].seq, seq);
}

/// When the head of a key is delivered, its followers can go, in order.
pub async fn followers_go_after_their_head<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = keyed_messages("k", 4);
    fixture.enqueue(&batch).await;
    relay.block(&batch, Duration::ZERO).await;
    let due = relay.due().await;
    assert_eq!(ids(&due), ids_of(&batch[..1]), "only the head has a time");
    assert_eq!(ids(&relay.held("k").await), ids_of(&batch[1..]));
    relay.settle(&delivered(&due)).await;
    assert!(matches!(relay.hold("k").await, Some(HoldState::Releasing { .. })));
    let held = relay.held("k").await;
    assert_eq!(relay.settle(&delivered(&held)).await, 3);
    assert_eq!(relay.hold("k").await, None);
    assert!(relay.store.is_empty().await.unwrap());
}

/// The next due time is that of the row which is due first, and zero if one is due.
pub async fn the_next_due_time_is_the_earliest<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    assert_eq!(relay.next_due().await, None);
    let batch = messages(3);
    fixture.enqueue(&batch).await;
    assert_eq!(relay.next_due().await, None, "fresh rows do not wait");
    let rows = relay.fresh().await;
    let wait = |seconds| retry(1, Duration::from_secs(seconds));
    relay.settle(&[(rows[0].row, wait(900)), (rows[1].row, wait(300))]).await;
    let left = relay.next_due().await.unwrap();
    assert!(left <= Duration::from_secs(300) && left > Duration::from_secs(240), "{left:?}");
    relay.settle(&[(rows[2].row, wait(0))]).await;
    assert_eq!(relay.next_due().await, Some(Duration::ZERO));
    assert_eq!(ids(&relay.due().await), ids_of(&batch[2..]));
}
