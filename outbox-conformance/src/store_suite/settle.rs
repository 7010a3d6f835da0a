//! What a settle does to the rows it names, and that it does nothing to others.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Fence, OutboxAdmin, OutboxStore, Outcome, RowId, Settled};

use super::message::{delayed, ids_of, keyed, keyed_messages, message, messages};
use super::relay::{TestRelay, delivered, find, ids, rejected, retry, row_of, seqs};
use crate::StoreFixture;

/// Delivered rows are gone, the others stay.
pub async fn delivered_rows_are_gone<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = messages(10);
    fixture.enqueue(&batch).await;
    let rows = relay.fresh().await;
    assert_eq!(relay.settle(&delivered(&rows[..6])).await, 6, "a contiguous range");
    assert_eq!(ids(&relay.fresh().await), ids_of(&batch[6..]));
    assert_eq!(relay.settle(&delivered(&rows[6..])).await, 4);
    assert!(relay.store.is_empty().await.unwrap());
}

/// Of a range with holes, only the rows that were delivered are gone, in whatever order they are named.
pub async fn rows_between_delivered_ones_stay<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&messages(12)).await;
    let rows = relay.fresh().await;
    let mut outcomes = delivered(&rows);
    outcomes.retain(|(row, _)| row.number != rows[4].seq && row.number != rows[9].seq);
    outcomes.reverse();
    assert_eq!(relay.settle(&outcomes).await, 10);
    assert_eq!(seqs(&relay.fresh().await), [rows[4].seq, rows[9].seq]);
}

/// A row that is committed between the claim and the settle, with a `seq` between those delivered, stays.
pub async fn a_late_row_between_delivered_ones_stays<F: StoreFixture>(fixture: Arc<F>) {
    if !fixture.store().capabilities().late_commits {
        return;
    }
    let relay = TestRelay::owner(&*fixture).await;
    let late = message();
    fixture.enqueue(&messages(3)).await;
    let mut slow = fixture.begin().await;
    slow.enqueue(std::slice::from_ref(&late)).await;
    fixture.enqueue(&messages(3)).await;
    let rows = relay.fresh().await;
    assert_eq!(rows.len(), 6);
    slow.commit().await;
    assert_eq!(relay.settle(&delivered(&rows)).await, 6);
    let left = relay.fresh().await;
    assert_eq!(ids(&left), [*late.id()], "it was never published");
    assert!(rows[2].seq < left[0].seq && left[0].seq < rows[3].seq, "it lies within the range");
}

/// One settle carries out outcomes of every kind at once, for rows of both tables.
pub async fn one_settle_mixes_outcomes<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let mut batch = messages(8);
    batch.push(delayed(Duration::from_secs(600)));
    batch[3] = keyed("held");
    fixture.enqueue(&batch).await;
    let fresh = relay.fresh().await;
    let begun: Vec<_> = fresh[5..8].iter().map(|row| (row.row, Outcome::Begin { attempts: 1 })).collect();
    relay.settle(&begun).await;
    let due = relay.due().await;

    let outcomes = [
        (row_of(&due, &batch[5]), Outcome::Delivered),
        (fresh[0].row, Outcome::Delivered),
        (fresh[1].row, retry(1, Duration::from_secs(600))),
        (row_of(&due, &batch[6]), rejected()),
        (fresh[2].row, rejected()),
        (fresh[3].row, Outcome::Hold { behind: *batch[1].id() }),
        (row_of(&due, &batch[7]), retry(2, Duration::ZERO)),
        (fresh[4].row, Outcome::Begin { attempts: 1 }),
        (fresh[8].row, Outcome::Delay),
    ];
    assert_eq!(relay.settle(&outcomes).await, 9);
    assert!(relay.fresh().await.is_empty());
    let due = relay.due().await;
    assert_eq!(due.len(), 2);
    assert_eq!((find(&due, &batch[7]).attempts, find(&due, &batch[4]).attempts), (2, 1));
    assert_eq!(ids(&relay.held("held").await), [*batch[3].id()]);
    let mut dead: Vec<_> = relay.dead().await.iter().map(|letter| *letter.message.id()).collect();
    dead.sort();
    let mut expected = vec![*batch[2].id(), *batch[6].id()];
    expected.sort();
    assert_eq!(dead, expected);
    let stats = relay.store.stats(1_000).await.unwrap();
    assert_eq!((stats.pending, stats.retrying, stats.delayed, stats.held, stats.dead), (0, 3, 1, 1, 2));
}

/// A settle that is repeated, because its answer was lost, changes nothing the second time.
pub async fn a_repeated_settle_changes_nothing<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let mut batch = messages(3);
    batch.extend(keyed_messages("k", 2));
    batch.push(delayed(Duration::from_secs(600)));
    fixture.enqueue(&batch).await;
    let fresh = relay.fresh().await;
    let outcomes = [
        (fresh[0].row, Outcome::Delivered),
        (fresh[1].row, Outcome::Begin { attempts: 1 }),
        (fresh[2].row, rejected()),
        (fresh[3].row, retry(1, Duration::from_secs(600))),
        (fresh[4].row, Outcome::Hold { behind: *batch[3].id() }),
        (fresh[5].row, Outcome::Delay),
    ];
    assert_eq!(relay.settle(&outcomes).await, 6);
    let due = relay.due().await;
    let held = relay.held("k").await;
    assert_eq!(relay.settle(&outcomes).await, 0, "the rows are where they were sent");
    assert!(relay.fresh().await.is_empty());
    assert_eq!(relay.due().await.iter().map(|row| row.row).collect::<Vec<_>>(), [due[0].row]);
    assert_eq!(relay.held("k").await.iter().map(|row| row.row).collect::<Vec<_>>(), [held[0].row]);
    assert_eq!(relay.dead().await.len(), 1);

    // From the deferred table, values are absolute: a second time is the same once more.
    let outcomes =
        [(due[0].row, retry(4, Duration::ZERO)), (held[0].row, Outcome::Hold { behind: *batch[3].id() })];
    relay.settle(&outcomes).await;
    relay.settle(&outcomes).await;
    assert_eq!(relay.due().await[0].attempts, 4);
    assert_eq!(ids(&relay.held("k").await), [*batch[4].id()]);
}

/// Rows that are gone are not counted, and do not keep the others from being settled.
pub async fn rows_that_are_gone_are_not_counted<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&messages(4)).await;
    let rows = relay.fresh().await;
    relay.settle(&delivered(&rows[1..3])).await;
    assert_eq!(relay.settle(&delivered(&rows)).await, 2);
    let unknown = [RowId::fresh(i64::MAX), RowId::deferred(i64::MAX), RowId::dead(i64::MAX)];
    for outcome in
        [Outcome::Delivered, retry(1, Duration::ZERO), rejected(), Outcome::Replay, Outcome::Discard]
    {
        for row in unknown {
            assert_eq!(relay.settle(&[(row, outcome.clone())]).await, 0, "{outcome:?} of {row:?}");
        }
    }
    assert!(relay.store.is_empty().await.unwrap());
    assert!(relay.dead().await.is_empty());
}

/// Several thousand rows settle in one call.
pub async fn thousands_settle_at_once<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = messages(4_000);
    for part in batch.chunks(1_000) {
        fixture.enqueue(part).await;
    }
    let rows = relay.fresh().await;
    let outcomes = rows.iter().zip(0..).map(|(row, number)| match number % 8 {
        0 => (row.row, retry(1, Duration::from_secs(600))),
        1 => (row.row, rejected()),
        _ => (row.row, Outcome::Delivered),
    });
    assert_eq!(relay.settle(&outcomes.collect::<Vec<_>>()).await, 4_000);
    assert!(relay.fresh().await.is_empty());
    assert_eq!(relay.dead().await.len(), 500);
    assert_eq!(relay.store.stats(10_000).await.unwrap().retrying, 500);
}

/// A settle of nothing still says whether the fence holds.
pub async fn an_empty_settle_tests_the_fence<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    assert_eq!(relay.settle(&[]).await, 0);
    let (shard, epoch) = relay.owned[0];
    let fence = Fence::new(relay.id, [(shard, epoch + 1)]);
    assert_eq!(relay.settle_with(&fence, &[]).await, Settled { applied: 0, stale: true });
}
