//! What a writer does in the caller's transaction: the same for every database.

use std::sync::Arc;
use std::time::Duration;

use diesel::result::Error;
use diesel_async::TransactionManager;
use futures_util::FutureExt;
use outbox_conformance::StoreFixture;
use outbox_core::{
    ClaimRequest, ClaimSource, Fence, LeaseRequest, MessageId, OutboxMessage, OutboxStore, Outcome, RelayId,
};
use tokio::time::Instant;

use super::fixture::{Fixture, TestDatabase};

/// Expands to one test per case of a module.
macro_rules! cases {
    ($module:ident, $fixture:ty: $($case:ident)+) => {
        $(
            #[test]
            fn $case() {
                outbox_conformance::run_case::<$fixture, _, _>(crate::asynchronous::$module::$case);
            }
        )+
    };
}
pub(crate) use cases;

/// Nothing of a rolled back transaction is there, everything of a committed one is.
pub(crate) async fn a_message_shares_the_fate_of_its_transaction<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let (lost, kept) = (message(), message());
    let mut connection = fixture.producer().await;
    let undone = connection
        .transaction::<(), Error, _>(async |connection| {
            fixture.writer.enqueue(connection, &lost).await?;
            Err(Error::RollbackTransaction)
        })
        .await;
    assert_eq!(undone, Err(Error::RollbackTransaction));
    let done = connection
        .transaction::<(), Error, _>(async |connection| {
            fixture.writer.enqueue(connection, &kept).await?;
            assert_eq!(fixture.fresh_ids().await, [], "nothing is committed yet");
            Ok(())
        })
        .await;
    assert_eq!(done, Ok(()));
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
}

/// A savepoint that is rolled back takes its messages along, and only those.
pub(crate) async fn a_savepoint_takes_its_messages_along<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let messages = [message(), message(), message()];
    let mut connection = fixture.producer().await;
    let done = connection
        .transaction::<(), Error, _>(async |connection| {
            fixture.writer.enqueue(connection, &messages[0]).await?;
            let inner = connection
                .transaction::<(), Error, _>(async |connection| {
                    fixture.writer.enqueue(connection, &messages[1]).await?;
                    Err(Error::RollbackTransaction)
                })
                .await;
            assert_eq!(inner, Err(Error::RollbackTransaction));
            fixture.writer.enqueue(connection, &messages[2]).await
        })
        .await;
    assert_eq!(done, Ok(()));
    assert_eq!(fixture.fresh_ids().await, [*messages[0].id(), *messages[2].id()]);
}

/// A thousand messages in one call are all there, in their order. So is none.
pub(crate) async fn a_thousand_messages_in_one_call<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let messages: Vec<_> = (0..1_000).map(|_| message()).collect();
    let mut connection = fixture.producer().await;
    let done = connection
        .transaction::<(), Error, _>(async |connection| {
            fixture.writer.enqueue_all(connection, &[]).await?;
            fixture.writer.enqueue_all(connection, &messages).await
        })
        .await;
    assert_eq!(done, Ok(()));
    assert_eq!(fixture.fresh_ids().await, ids(&messages));
}

/// A caller that goes away in the middle of an enqueue, with its connection, leaves no open transaction and no lock.
pub(crate) async fn a_dropped_enqueue_leaves_nothing_open<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let lost: Vec<_> = (0..500).map(|_| message()).collect();
    for polls in 1..6 {
        let mut connection = fixture.producer().await;
        C::TransactionManager::begin_transaction(&mut connection).await.unwrap();
        let mut enqueue = Box::pin(fixture.writer.enqueue_all(&mut connection, &lost));
        for _ in 0..polls {
            if (&mut enqueue).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(enqueue);
        drop(connection);
    }
    let kept = message();
    fixture.enqueue(std::slice::from_ref(&kept)).await;
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
    nothing_is_open(&fixture).await;
}

/// A relay that goes away in the middle of a settle leaves no open transaction and no lock.
pub(crate) async fn a_dropped_settle_leaves_nothing_open<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
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
pub(crate) async fn the_rest_of_a_large_result_is_let_go<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
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
pub(crate) async fn nothing_is_open<C: TestDatabase>(fixture: &Fixture<C>) {
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
