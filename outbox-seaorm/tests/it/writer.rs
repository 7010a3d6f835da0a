//! What a writer does in the caller's transaction: the same for every database.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use outbox_conformance::StoreFixture;
use outbox_core::bytes::Bytes;
use outbox_core::{
    BoxError, ClaimRequest, ClaimSource, Event, EventCodec, Fence, LeaseRequest, MessageId, OutboxAdmin,
    OutboxMessage, OutboxStore, Outcome, RelayId, StoreError,
};
use outbox_seaorm::SeaOrmStore;
use sea_orm::{DatabaseExecutor, DbErr, TransactionError, TransactionTrait};
use tokio::time::Instant;

use crate::fixture::{Fixture, TestDatabase, select};

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
    let txn = fixture.db.begin().await.unwrap();
    fixture.writer.enqueue(&txn, &lost).await.unwrap();
    txn.rollback().await.unwrap();
    let txn = fixture.db.begin().await.unwrap();
    fixture.writer.enqueue(&txn, &kept).await.unwrap();
    assert_eq!(fixture.fresh_ids().await, [], "nothing is committed yet");
    txn.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
}

/// The same in the two kinds of closure that sea-orm has.
pub(crate) async fn a_message_shares_the_fate_of_its_closure<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let messages = [message(), message(), message(), message()];
    let (writer, [kept, lost, _, _]) = (fixture.writer.clone(), messages.clone());
    let committed = fixture.db.transaction(|txn| {
        Box::pin(async move {
            writer.enqueue(txn, &kept).await?;
            Ok::<_, DbErr>(())
        })
    });
    committed.await.unwrap();
    let writer = fixture.writer.clone();
    let failed = fixture.db.transaction(|txn| {
        Box::pin(async move {
            writer.enqueue(txn, &lost).await?;
            Err::<(), _>(DbErr::Custom("out of stock".to_owned()))
        })
    });
    assert!(matches!(failed.await, Err(TransactionError::Transaction(DbErr::Custom(_)))));

    let (writer, [_, _, kept, lost]) = (&fixture.writer, messages.clone());
    let committed =
        fixture.db.transaction_async(async |txn| -> Result<(), DbErr> { writer.enqueue(txn, &kept).await });
    committed.await.unwrap();
    let failed = fixture.db.transaction_async(async |txn| -> Result<(), DbErr> {
        writer.enqueue(txn, &lost).await?;
        Err(DbErr::Custom("out of stock".to_owned()))
    });
    assert!(failed.await.is_err());
    assert_eq!(fixture.fresh_ids().await, [*messages[0].id(), *messages[2].id()]);
}

/// A nested transaction that is rolled back takes its messages along, and only those.
pub(crate) async fn a_savepoint_takes_its_messages_along<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let messages = [message(), message(), message(), message()];
    let txn = fixture.db.begin().await.unwrap();
    fixture.writer.enqueue(&txn, &messages[0]).await.unwrap();
    let inner = txn.begin().await.unwrap();
    fixture.writer.enqueue(&inner, &messages[1]).await.unwrap();
    inner.rollback().await.unwrap();
    let dropped = txn.begin().await.unwrap();
    fixture.writer.enqueue(&dropped, &messages[2]).await.unwrap();
    drop(dropped);
    fixture.writer.enqueue(&txn, &messages[3]).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, [*messages[0].id(), *messages[3].id()]);
}

/// An executor is written through if it is a transaction, and refused if it is a pool.
pub(crate) async fn an_executor_must_be_a_transaction<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let (kept, refused) = (message(), message());
    let error = fixture.writer.enqueue(&DatabaseExecutor::from(&fixture.db), &refused).await.unwrap_err();
    assert!(error.to_string().contains("transaction"), "{error}");
    let txn = fixture.db.begin().await.unwrap();
    fixture.writer.enqueue(&DatabaseExecutor::from(&txn), &kept).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
}

/// A thousand messages in one call are all there, in their order. So is none.
pub(crate) async fn a_thousand_messages_in_one_call<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let messages: Vec<_> = (0..1_000).map(|_| message()).collect();
    let txn = fixture.db.begin().await.unwrap();
    fixture.writer.enqueue_all(&txn, &[]).await.unwrap();
    fixture.writer.enqueue_all(&txn, &messages).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&messages));
}

/// An event is a message of its topic; one that can't be encoded is an error that has the reason.
pub(crate) async fn an_event_is_emitted<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    struct Placed(u64);
    impl Event for Placed {
        const TOPIC: &'static str = "orders.placed";
        type Codec = Small;
    }
    struct Small;
    impl EventCodec<Placed> for Small {
        const CONTENT_TYPE: &'static str = "text/plain";
        fn encode(event: &Placed) -> Result<Bytes, BoxError> {
            if event.0 > 9 { Err("more than one digit".into()) } else { Ok(event.0.to_string().into()) }
        }
    }
    let txn = fixture.db.begin().await.unwrap();
    fixture.writer.emit(&txn, &Placed(7)).await.unwrap();
    let error = fixture.writer.emit(&txn, &Placed(10)).await.unwrap_err();
    assert!(error.to_string().contains("more than one digit"), "{error}");
    txn.commit().await.unwrap();
    let rows = fixture.fresh().await;
    assert_eq!((rows.len(), rows[0].message.topic().as_str()), (1, "orders.placed"));
    assert_eq!(rows[0].message.payload().as_ref(), b"7");
}

/// Whatever is in the texts, and whichever of them are missing, the rows are what was written: one by one, and many in
/// one statement.
pub(crate) async fn every_text_comes_back<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let texts = [r#"a "b" \ 'c', {d}"#, "NULL", "null", "{}", r"\", r#"""#, " ", "é 漢 🦀", "%_?$1::text"];
    let full = |text: &&str| {
        OutboxMessage::bytes("writer.topic", text.as_bytes().to_vec())
            .unwrap()
            .ordering_key(*text)
            .event_type(*text)
            .aggregate("type", *text)
            .correlation_id(*text)
            .header("x-text", *text)
            // Nothing of it is null then.
            .available_at(SystemTime::UNIX_EPOCH)
            .max_attempts(3)
            .build()
            .unwrap()
    };
    let mut messages: Vec<_> = texts.iter().map(full).collect();
    let without_nulls = messages.clone();
    messages.push(message());
    messages.extend(texts.iter().map(full));
    for part in [&messages[..], &messages[..1], &without_nulls[..]] {
        let fresh = fixture.fresh().await.len();
        // An id may be written twice: the inbox drops the second.
        fixture.enqueue(part).await;
        let rows = fixture.fresh().await;
        let read: Vec<_> = rows[fresh..].iter().map(|row| texts_of(&row.message)).collect();
        assert_eq!(read, part.iter().map(texts_of).collect::<Vec<_>>());
        assert!(rows.iter().all(|row| row.defect.is_none()));
    }
}

/// Everything of a message in which a user's text can be.
fn texts_of(message: &OutboxMessage) -> impl PartialEq + std::fmt::Debug {
    (
        *message.id(),
        message.ordering_key().cloned(),
        [message.event_type().to_owned(), message.headers().to_json()],
        [message.aggregate_type(), message.aggregate_id(), message.correlation_id()]
            .map(|text| text.map(str::to_owned)),
        message.payload().clone(),
    )
}

/// A caller that goes away in the middle of an enqueue leaves no open transaction and no lock.
pub(crate) async fn a_dropped_enqueue_leaves_nothing_open<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let lost: Vec<_> = (0..500).map(|_| message()).collect();
    for polls in 1..6 {
        let txn = fixture.db.begin().await.unwrap();
        {
            let mut enqueue = Box::pin(fixture.writer.enqueue_all(&txn, &lost));
            for _ in 0..polls {
                if (&mut enqueue).now_or_never().is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        drop(txn);
    }
    let kept = message();
    let txn = fixture.db.begin().await.unwrap();
    fixture.writer.enqueue(&txn, &kept).await.unwrap();
    txn.commit().await.unwrap();
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
    if !DB::CONNECTIONS.is_empty() {
        // Ten of the pool and six of the relay.
        until("connections stay behind", async || select::<i64>(&fixture.db, DB::CONNECTIONS).await[0] <= 16)
            .await;
    }
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

/// A store may be dropped after the runtime that its connections were opened in.
pub(crate) async fn a_store_may_outlive_its_runtime<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let db = fixture.another().await;
    let opened = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = SeaOrmStore::new(&db);
        runtime.block_on(async { store.migrate().await.map(drop) })?;
        runtime.block_on(async { store.is_empty().await.map(drop) })?;
        drop(runtime);
        drop(store);
        Ok::<_, StoreError>(())
    });
    let opened = tokio::task::spawn_blocking(|| opened.join()).await.unwrap();
    opened.expect("it does not panic").unwrap();
}

/// Waits until no transaction that was open just now is any more.
async fn nothing_is_open<DB: TestDatabase>(fixture: &Fixture<DB>) {
    let store = fixture.store();
    let mark = store.mark_late_commits().await.unwrap();
    until("a transaction is still open", async || store.late_commits_over(&mark).await.unwrap()).await;
}

async fn until(otherwise: &str, reached: impl AsyncFn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !reached().await {
        assert!(Instant::now() < give_up, "{otherwise}");
    }
}

pub(crate) fn message() -> OutboxMessage {
    OutboxMessage::bytes("writer.topic", "payload").unwrap().build().unwrap()
}

pub(crate) fn ids(messages: &[OutboxMessage]) -> Vec<MessageId> {
    messages.iter().map(|message| *message.id()).collect()
}
