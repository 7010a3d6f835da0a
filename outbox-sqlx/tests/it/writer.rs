//! What a writer does in the caller's transaction: the same for every database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use outbox_conformance::StoreFixture;
use outbox_core::{
    ClaimRequest, ClaimSource, Fence, LeaseRequest, MessageId, OutboxMessage, OutboxStore, Outcome, RelayId,
};
use sqlx::{Acquire, Transaction};
use tokio::time::Instant;

use crate::fixture::{Fixture, TestDatabase};

/// Expands to one test per case.
macro_rules! writer_cases {
    ($fixture:ty: $($case:ident)+) => {
        $(
            #[test]
            fn $case() {
                outbox_conformance::run_case::<$fixture, _, _>($crate::writer::$case);
            }
        )+
    };
}
pub(crate) use writer_cases;

/// Nothing of a rolled back transaction is there, everything of a committed one is.
pub(crate) async fn a_message_shares_the_fate_of_its_transaction<DB: TestDatabase>(
    fixture: Arc<Fixture<DB>>,
) {
    let (lost, kept) = (message(), message());
    let mut tx = fixture.pool.begin().await.unwrap();
    fixture.writer.enqueue(&mut tx, &lost).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = fixture.pool.begin().await.unwrap();
    fixture.writer.enqueue(&mut tx, &kept).await.unwrap();
    assert_eq!(fixture.fresh_ids().await, [], "nothing is committed yet");
    tx.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
}

/// A savepoint that is rolled back takes its messages along, and only those.
pub(crate) async fn a_savepoint_takes_its_messages_along<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let messages = [message(), message(), message()];
    let mut tx = fixture.pool.begin().await.unwrap();
    fixture.writer.enqueue(&mut tx, &messages[0]).await.unwrap();
    let mut inner: Transaction<'_, DB> = (&mut tx).begin().await.unwrap();
    fixture.writer.enqueue(&mut inner, &messages[1]).await.unwrap();
    inner.rollback().await.unwrap();
    fixture.writer.enqueue(&mut tx, &messages[2]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, [*messages[0].id(), *messages[2].id()]);
}

/// A thousand messages in one call are all there, in their order. So is none.
pub(crate) async fn a_thousand_messages_in_one_call<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let messages: Vec<_> = (0..1_000).map(|_| message()).collect();
    let mut tx = fixture.pool.begin().await.unwrap();
    fixture.writer.enqueue_all(&mut tx, &[]).await.unwrap();
    fixture.writer.enqueue_all(&mut tx, &messages).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&messages));
}

/// A caller that goes away in the middle of an enqueue leaves no open transaction and no lock.
pub(crate) async fn a_dropped_enqueue_leaves_nothing_open<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let lost: Vec<_> = (0..500).map(|_| message()).collect();
    for polls in 1..6 {
        let mut tx = fixture.pool.begin().await.unwrap();
        {
            let mut enqueue = Box::pin(fixture.writer.enqueue_all(&mut tx, &lost));
            for _ in 0..polls {
                if (&mut enqueue).now_or_never().is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        drop(tx);
    }
    let kept = message();
    let mut tx = fixture.pool.begin().await.unwrap();
    fixture.writer.enqueue(&mut tx, &kept).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
    nothing_is_open(&fixture).await;
}

/// A relay that goes away in the middle of a settle leaves no open transaction and no lock.
pub(crate) async fn a_dropped_settle_leaves_nothing_open<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let messages: Vec<_> = (0..200).map(|_| message()).collect();
    fixture.enqueue(&messages).await;
    let (store, relay) = (fixture.store(), RelayId::new());
    let request = LeaseRequest { relay, ttl: Duration::from_secs(600), label: "test".to_owned() };
    let leased = store.acquire(&request, 64).await.unwrap();
    let fence = Fence::new(relay, leased.iter().map(|shard| (shard.shard, shard.epoch)));
    let rows = fixture.fresh().await;
    assert_eq!(rows.len(), messages.len());
    for (index, row) in rows.iter().enumerate() {
        let outcome = Outcome::Retry { attempts: 1, after: Duration::ZERO, error: "no".to_owned() };
        let settle = [(row.row, outcome)];
        let cut_off = Duration::from_micros(20 * (index as u64 % 100));
        let _ = tokio::time::timeout(cut_off, store.settle(&fence, &settle)).await;
    }
    nothing_is_open(&fixture).await;
    let rest: Vec<_> = fixture.fresh().await.iter().map(|row| (row.row, Outcome::Delivered)).collect();
    let settled = store.settle(&fence, &rest).await.unwrap();
    // The last settle that was cut off may have been carried out between the read and this one.
    assert!(!settled.stale && settled.applied <= rest.len() as u64, "{settled:?}");
    assert_eq!(fixture.fresh_ids().await, []);
}

/// A read that stops at its budget, far from the end of a large result, is followed by one that has everything.
pub(crate) async fn the_rest_of_a_large_result_is_let_go<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let large = || OutboxMessage::bytes("writer.topic", vec![7; 100_000]).unwrap().build().unwrap();
    let messages: Vec<_> = (0..100).map(|_| large()).collect();
    fixture.enqueue(&messages).await;
    let request = ClaimRequest {
        scope: fixture.scope.clone(),
        source: ClaimSource::Fresh { after: 0 },
        limit: 100,
        max_bytes: 150_000,
    };
    for _ in 0..3 {
        let claim = fixture.store().claim(&request).await.unwrap();
        assert_eq!((claim.rows.len(), claim.more), (2, true));
    }
    assert_eq!(fixture.fresh_ids().await, ids(&messages));
}

/// Waits until no transaction that was open just now is any more.
async fn nothing_is_open<DB: TestDatabase>(fixture: &Fixture<DB>) {
    let store = fixture.store();
    let give_up = Instant::now() + Duration::from_secs(20);
    let mark = store.mark_late_commits().await.unwrap();
    while !store.late_commits_over(&mark).await.unwrap() {
        assert!(Instant::now() < give_up, "still open: {:?}", mark.holders);
    }
}

pub(crate) fn message() -> OutboxMessage {
    OutboxMessage::bytes("writer.topic", "payload").unwrap().build().unwrap()
}

pub(crate) fn ids(messages: &[OutboxMessage]) -> Vec<MessageId> {
    messages.iter().map(|message| *message.id()).collect()
}
