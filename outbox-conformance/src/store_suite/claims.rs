//! What a read of fresh rows returns.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Claim, ClaimRequest, ClaimSource, Lane, OutboxMessage, OutboxStore, Seq};

use super::message::{ids_of, message, messages};
use super::relay::{MANY, TestRelay, delivered, ids, rejected, retry, row_of, seqs};
use crate::StoreFixture;

/// A claim returns committed rows only, in the order in which they were written.
pub async fn committed_rows_only<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = messages(20);
    let mut open = fixture.begin().await;
    open.enqueue(&batch).await;
    assert!(relay.fresh().await.is_empty(), "nothing is committed yet");
    open.commit().await;
    assert_eq!(ids(&relay.fresh().await), ids_of(&batch));
}

/// A rolled back transaction leaves nothing.
pub async fn rollback_leaves_nothing<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let mut open = fixture.begin().await;
    open.enqueue(&messages(3)).await;
    open.rollback().await;
    assert!(relay.fresh().await.is_empty());
    let next = messages(1);
    fixture.enqueue(&next).await;
    assert_eq!(ids(&relay.fresh().await), ids_of(&next), "the next transaction is not affected");
}

/// Rows come by ascending `seq`, over all transactions, and a claim after a `seq` returns what follows it.
pub async fn rows_come_by_seq_after_the_cursor<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = messages(50);
    for part in batch.chunks(7) {
        fixture.enqueue(part).await;
    }
    let rows = relay.fresh().await;
    assert_eq!(ids(&rows), ids_of(&batch));
    assert!(seqs(&rows).is_sorted_by(|a, b| a < b), "strictly ascending: {:?}", seqs(&rows));
    assert!(rows[0].seq > 0, "a cursor of 0 is before every row");
    for row in &rows {
        assert_eq!((row.row.lane, row.row.number), (Lane::Fresh, row.seq));
        assert_eq!((row.attempts, row.held, row.due_in, row.due_position), (0, false, None, None));
    }
    let rest = relay.claim(ClaimSource::Fresh { after: rows[19].seq }).await;
    assert_eq!(ids(&rest), ids_of(&batch[20..]));
    assert!(relay.claim(ClaimSource::Fresh { after: rows[49].seq }).await.is_empty());
}

/// Reading changes nothing: the same claim returns the same rows again.
pub async fn reading_changes_nothing<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&messages(5)).await;
    let first = relay.fresh().await;
    assert_eq!(seqs(&first), seqs(&relay.fresh().await));
    assert_eq!(first.len(), 5);
}

/// A claim returns at most `limit` rows, says that there may be more, and page by page everything once.
pub async fn the_limit_ends_a_read<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = messages(10);
    fixture.enqueue(&batch).await;
    let (mut after, mut found) = (0, Vec::new());
    for expected in [4, 4, 2] {
        let claim = page(&relay, after, 4, usize::MAX >> 1).await;
        assert_eq!((claim.rows.len(), claim.more), (expected, expected == 4));
        after = claim.rows.last().unwrap().seq;
        found.extend(ids(&claim.rows));
    }
    assert_eq!(found, ids_of(&batch));
}

/// A claim stops after the row that reaches the byte budget and says so; it returns at least one row.
pub async fn the_byte_budget_ends_a_read<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let large = || OutboxMessage::bytes("suite.large", vec![7; 1_000]).unwrap().build().unwrap();
    let batch: Vec<_> = (0..6).map(|_| large()).collect();
    fixture.enqueue(&batch).await;
    let size = batch[0].size();
    for (budget, expected) in [(1, 1), (size, 1), (size + 1, 2), (2 * size + size / 2, 3), (3 * size, 3)] {
        let claim = page(&relay, 0, 100, budget).await;
        assert_eq!((claim.rows.len(), claim.more), (expected, true), "budget {budget} of {size} each");
    }
    let claim = page(&relay, 0, 100, 100 * size).await;
    assert_eq!((claim.rows.len(), claim.more), (6, false));
}

/// An exact read returns the rows asked for by `seq`, in that order, without those that are gone.
pub async fn an_exact_read_leaves_out_what_is_gone<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&messages(6)).await;
    let rows = relay.fresh().await;
    relay.settle(&delivered(&rows[2..3])).await;
    let seqs_wanted = vec![rows[4].seq, rows[2].seq, rows[0].seq, rows[5].seq + 1_000];
    let found = relay.claim(ClaimSource::Exact { seqs: seqs_wanted }).await;
    assert_eq!(seqs(&found), [rows[0].seq, rows[4].seq]);
    assert_eq!(found[1].message, rows[4].message, "with everything that a claim returns");
    assert!(relay.claim(ClaimSource::Exact { seqs: Vec::new() }).await.is_empty());
}

/// A scan returns the `seq`s of the fresh rows after one and up to another, ascending, at most `limit`.
pub async fn a_scan_returns_a_range<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&messages(10)).await;
    let all = seqs(&relay.fresh().await);
    let scan = async |after: Seq, upto: Seq, limit: usize| {
        relay.store.scan(&relay.scope(), after, upto, limit).await.unwrap()
    };
    assert_eq!(scan(0, all[9], MANY).await, all);
    assert_eq!(scan(all[2], all[6], MANY).await, all[3..=6], "after is exclusive, upto inclusive");
    assert_eq!(scan(0, all[9], 3).await, all[..3], "the lowest first");
    assert!(scan(all[9], all[9], MANY).await.is_empty());
    assert!(scan(all[9], all[0], MANY).await.is_empty(), "an empty range");
}

/// A transaction that commits after one with a higher `seq` is below the cursor, and the sweep sees it.
pub async fn a_late_committer_is_found_by_the_sweep<F: StoreFixture>(fixture: Arc<F>) {
    if !fixture.store().capabilities().late_commits {
        return;
    }
    let relay = TestRelay::owner(&*fixture).await;
    let (late, early) = (message(), message());
    let mut slow = fixture.begin().await;
    slow.enqueue(std::slice::from_ref(&late)).await;
    fixture.enqueue(std::slice::from_ref(&early)).await;
    let rows = relay.fresh().await;
    assert_eq!(ids(&rows), [*early.id()]);
    let cursor = rows[0].seq;
    relay.settle(&delivered(&rows)).await;

    slow.commit().await;
    assert!(relay.claim(ClaimSource::Fresh { after: cursor }).await.is_empty(), "its seq is lower");
    let found = relay.store.scan(&relay.scope(), 0, cursor, MANY).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0] < cursor);
    assert_eq!(ids(&relay.claim(ClaimSource::Exact { seqs: found }).await), [*late.id()]);
}

/// Two rows with the same id are two rows: both are stored, and each is settled by itself.
pub async fn the_same_id_twice_is_two_rows<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let twin = message();
    fixture.enqueue(&[twin.clone(), twin.clone()]).await;
    fixture.enqueue(std::slice::from_ref(&twin)).await;
    let rows = relay.fresh().await;
    assert_eq!(ids(&rows), [*twin.id(); 3]);
    assert_eq!(relay.settle(&delivered(&rows[1..2])).await, 1);
    assert_eq!(seqs(&relay.fresh().await), [rows[0].seq, rows[2].seq]);
}

/// The outbox is empty if there is neither a fresh nor a deferred row; dead letters do not count.
pub async fn only_waiting_rows_count_as_not_empty<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    assert!(relay.store.is_empty().await.unwrap());
    let batch = messages(2);
    fixture.enqueue(&batch).await;
    assert!(!relay.store.is_empty().await.unwrap(), "fresh rows");
    let rows = relay.fresh().await;
    let outcomes = [
        (row_of(&rows, &batch[0]), retry(1, Duration::from_secs(60))),
        (row_of(&rows, &batch[1]), rejected()),
    ];
    relay.settle(&outcomes).await;
    assert!(!relay.store.is_empty().await.unwrap(), "a deferred row");
    let deferred = relay.asked(&batch[0], outbox_core::OperatorAction::Discard).await;
    relay.settle(&[(deferred.row, outbox_core::Outcome::Discard)]).await;
    assert_eq!(relay.dead().await.len(), 1);
    assert!(relay.store.is_empty().await.unwrap(), "a dead letter only");
}

async fn page<S: OutboxStore + outbox_core::OutboxAdmin>(
    relay: &TestRelay<S>,
    after: Seq,
    limit: usize,
    max_bytes: usize,
) -> Claim {
    let source = ClaimSource::Fresh { after };
    let request = ClaimRequest { scope: relay.scope(), source, limit, max_bytes };
    relay.store.claim(&request).await.unwrap()
}
