//! What a writer does in the caller's transaction: the same for every database.

use std::sync::Arc;
use std::time::Duration;

use diesel::Connection;
use diesel::result::Error;
use outbox_conformance::StoreFixture;
use outbox_core::bytes::Bytes;
use outbox_core::{
    BlockingOutboxWriter, BoxError, ClaimRequest, ClaimSource, Event, EventCodec, Fence, LeaseRequest,
    MessageError, MessageId, OutboxMessage, OutboxStore, Outcome, RelayId,
};
use tokio::time::Instant;

use crate::fixture::{Fixture, TestDatabase};

/// Nothing of a rolled back transaction is there, everything of a committed one is.
pub(crate) async fn a_message_shares_the_fate_of_its_transaction<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let (lost, kept) = (message(), message());
    let mut tx = fixture.begin().await;
    tx.enqueue(&[lost]).await;
    tx.rollback().await;
    let mut tx = fixture.begin().await;
    tx.enqueue(std::slice::from_ref(&kept)).await;
    assert_eq!(fixture.fresh_ids().await, [], "nothing is committed yet");
    tx.commit().await;
    assert_eq!(fixture.fresh_ids().await, ids(&[kept]));
}

/// A savepoint that is rolled back takes its messages along, and only those.
pub(crate) async fn a_savepoint_takes_its_messages_along<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let messages = [message(), message(), message()];
    let (writer, mut connection) = (&fixture.writer, fixture.producer());
    let done = connection.transaction(|connection| {
        writer.enqueue(connection, &messages[0])?;
        let inner = connection.transaction(|connection| {
            writer.enqueue(connection, &messages[1])?;
            Err::<(), _>(Error::RollbackTransaction)
        });
        assert_eq!(inner, Err(Error::RollbackTransaction));
        writer.enqueue(connection, &messages[2])
    });
    assert_eq!(done, Ok(()));
    assert_eq!(fixture.fresh_ids().await, [*messages[0].id(), *messages[2].id()]);
}

/// The error of a writer fits the user's own closure, and rolls the transaction back.
pub(crate) async fn an_error_ends_the_users_closure<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    #[derive(Debug)]
    enum Mine {
        Database(Error),
    }
    impl From<Error> for Mine {
        fn from(error: Error) -> Self {
            Self::Database(error)
        }
    }
    let names = outbox_sql::TableNames::new(None, "missing_").unwrap();
    let missing = outbox_diesel::DieselWriter::<C::Database>::with_names(&names);
    let failed = fixture.producer().transaction(|connection| {
        fixture.writer.enqueue(connection, &message())?;
        missing.enqueue(connection, &message())?;
        Ok(())
    });
    assert!(matches!(failed, Err(Mine::Database(Error::DatabaseError(..)))), "{failed:?}");
    assert_eq!(fixture.fresh_ids().await, []);
}

/// An event is a message; one that can't be encoded is an error before the database is asked.
pub(crate) async fn an_event_is_written_or_says_why_not<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    struct Counted(u64);
    impl Event for Counted {
        const TOPIC: &'static str = "writer.counted";
        type Codec = Below;
    }
    /// Writes numbers below ten.
    struct Below;
    impl EventCodec<Counted> for Below {
        const CONTENT_TYPE: &'static str = "text/plain";

        fn encode(event: &Counted) -> Result<Bytes, BoxError> {
            if event.0 < 10 { Ok(event.0.to_string().into()) } else { Err("out of range".into()) }
        }
    }
    let mut connection = fixture.producer();
    fixture.writer.emit(&mut connection, &Counted(7)).unwrap();
    let error = fixture.writer.emit(&mut connection, &Counted(10)).unwrap_err();
    let Error::SerializationError(why) = &error else { panic!("{error:?}") };
    assert!(why.is::<MessageError>() && error.to_string().contains("out of range"), "{error}");
    let rows = fixture.fresh().await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].message.payload().as_ref(), b"7");
}

/// The connection of a pool is as good as another, in a service that is generic, too.
pub(crate) async fn a_connection_may_be_one_of_a_pool<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    fn generic<Conn>(
        outbox: &impl BlockingOutboxWriter<Conn>,
        connection: &mut Conn,
        message: &OutboxMessage,
    ) {
        outbox.enqueue(connection, message).unwrap();
    }
    let messages = [message(), message(), message()];
    let mut pooled = fixture.pool.get().unwrap();
    let done = pooled.transaction(|connection| {
        generic(&fixture.writer, connection, &messages[0]);
        // What a pool lends is the connection itself, too.
        fixture.writer.enqueue::<C>(connection, &messages[1])
    });
    assert_eq!(done, Ok(()));
    let mut tx = fixture.writer.begin(&mut pooled).unwrap();
    generic(&fixture.writer, &mut tx, &messages[2]);
    tx.commit().unwrap();
    assert_eq!(fixture.fresh_ids().await, ids(&messages));
}

/// A thousand messages in one call are all there, in their order. So is none.
pub(crate) async fn a_thousand_messages_in_one_call<C: TestDatabase>(fixture: Arc<Fixture<C>>) {
    let messages: Vec<_> = (0..1_000).map(|_| message()).collect();
    let done = fixture.producer().transaction(|connection| {
        fixture.writer.enqueue_all(connection, &[])?;
        fixture.writer.enqueue_all(connection, &messages)
    });
    assert_eq!(done, Ok(()));
    assert_eq!(fixture.fresh_ids().await, ids(&messages));
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
async fn nothing_is_open<C: TestDatabase>(fixture: &Fixture<C>) {
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
