//! That a message comes out as it went in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outbox_core::{
    ClaimSource, DeadReason, Limits, OperatorAction, OrderingKey, OutboxMessage, OutboxStore, Outcome,
    StoredMessage,
};

use super::eventually::eventually;
use super::message::{about, as_written, full, message};
use super::relay::{MANY, TestRelay, find, ids, rejected, retry};
use crate::StoreFixture;

/// Every field of a message survives, whatever is in it.
pub async fn every_field_survives<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch = [full("a key"), message(), full("another"), about("t").build().unwrap()];
    fixture.enqueue(&batch).await;
    let rows = relay.fresh().await;
    let found: Vec<_> = rows.iter().map(|row| as_written(&row.message)).collect();
    assert_eq!(found, batch);
    for row in &rows {
        assert_eq!(row.defect, None);
        let created_at = row.message.created_at().expect("the database notes the time");
        let now = SystemTime::now();
        let off = now.duration_since(created_at).or_else(|_| created_at.duration_since(now)).unwrap();
        assert!(off < Duration::from_secs(300), "a time zone got lost: {off:?}");
    }
}

/// So do the largest values that the limits allow, and the smallest.
pub async fn extreme_values_survive<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let long = "é".repeat(Limits::ATTRIBUTE / 2);
    // Together with the headers as much as there may be.
    let mut large = OutboxMessage::bytes("t".repeat(Limits::TOPIC), vec![0; 1_040_000 - 64 * 1_017])
        .unwrap()
        .ordering_key("🦀".repeat(Limits::ORDERING_KEY / 4))
        .event_type(long.as_str())
        .aggregate(long.as_str(), &long)
        .correlation_id(&long)
        .content_type("c".repeat(Limits::ATTRIBUTE));
    for number in 0..64 {
        large = large.header(format!("{number:02}{}", "n".repeat(Limits::HEADER_NAME - 2)), "v".repeat(890));
    }
    let empty = OutboxMessage::bytes("t", "").unwrap().build().unwrap();
    let payload = OutboxMessage::bytes("t", vec![0; 1_000_000]).unwrap().build().unwrap();
    let batch = [large.build().unwrap(), payload, empty];
    fixture.enqueue(&batch).await;
    let rows = relay.fresh().await;
    let found: Vec<_> = rows.iter().map(|row| as_written(&row.message)).collect();
    assert!(found == batch, "something was cut or changed");
}

/// A message that went through all tables is still the same.
pub async fn every_field_survives_every_move<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let sent = full("key");
    fixture.enqueue(&[message(), sent.clone()]).await;
    let rows = relay.fresh().await;
    let fresh = find(&rows, &sent);
    let same = |message: &OutboxMessage| assert_eq!(*message, fresh.message);

    relay.settle(&[(fresh.row, retry(3, Duration::ZERO))]).await;
    let due = relay.due().await;
    same(&due[0].message);
    assert_eq!((due[0].seq, due[0].shard, due[0].attempts), (fresh.seq, fresh.shard, 3));

    relay.settle(&[(due[0].row, rejected())]).await;
    let letter = relay.dead_letter(&sent).await.unwrap();
    same(&letter.message);
    assert_eq!(letter.seq, fresh.seq);

    let asked = relay.asked(&sent, OperatorAction::Replay).await;
    assert_eq!(asked.shard, fresh.shard);
    relay.settle(&[(asked.row, Outcome::Replay)]).await;
    let due = relay.due().await;
    same(&due[0].message);
    assert_eq!((due[0].seq, due[0].shard, due[0].attempts), (fresh.seq, fresh.shard, 0));

    relay.settle(&[(due[0].row, Outcome::Hold { behind: *message().id() })]).await;
    let held = relay.held("key").await;
    same(&held[0].message);
    assert_eq!((held[0].seq, held[0].shard), (fresh.seq, fresh.shard));
}

/// Keys are compared byte by byte: case, trailing space and accents make another key.
pub async fn keys_are_compared_byte_by_byte<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let keys = ["key", "Key", "key ", " key", "kéy", "ke\u{301}y", "k%y", "k_y", "ß", "ss"];
    let batch: Vec<_> = keys.iter().map(|key| super::message::keyed(key)).collect();
    fixture.enqueue(&batch).await;
    let rows = relay.fresh().await;
    let behind = *message().id();
    let outcomes: Vec<_> = rows.iter().map(|row| (row.row, Outcome::Hold { behind })).collect();
    relay.settle(&outcomes).await;
    for (key, message) in keys.iter().zip(&batch) {
        assert_eq!(ids(&relay.held(key).await), [*message.id()], "held of {key:?}");
        assert!(relay.hold(key).await.is_some(), "hold of {key:?}");
    }
    let holds = relay.store.holds(&relay.scope(), None, MANY).await.unwrap();
    assert_eq!(holds.len(), keys.len(), "each is a key of its own");

    // Parked keys are matched in the dead letters, by another statement.
    let all = keys.iter().map(|key| OrderingKey::stored(key)).collect();
    let deferred = relay.claim(ClaimSource::Held { keys: all, after: 0 }).await;
    relay.settle(&deferred.iter().map(|row| (row.row, parked_alone(row))).collect::<Vec<_>>()).await;
    let asked = relay.asked(&batch[0], OperatorAction::Replay).await;
    relay.settle(&[(asked.row, Outcome::Replay)]).await;
    assert_eq!(relay.dead().await.len(), keys.len() - 1, "only this key is replayed");
}

/// What a broker says is stored, whatever it says: a text that the database can't hold must not stop the settle.
pub async fn any_error_text_can_be_stored<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let texts = ["quoted ' \" \\ $1 ? :x", "emoji 🦀 and ü", "a nul \0 inside", "", &"long ü".repeat(30_000)];
    for text in texts {
        let sent = message();
        fixture.enqueue(std::slice::from_ref(&sent)).await;
        let row = relay.fresh_row(&sent).await;
        let error = text.to_owned();
        assert_eq!(
            relay.settle(&[(row, Outcome::Retry { attempts: 1, after: Duration::ZERO, error })]).await,
            1
        );
        let row = eventually("it falls due", async || {
            relay.due().await.into_iter().find(|row| row.message.id() == sent.id())
        })
        .await;
        let dead = Outcome::Dead {
            attempts: 2,
            reason: DeadReason::AttemptsExhausted,
            error: Some(text.to_owned()),
            parked_behind: None,
        };
        assert_eq!(relay.settle(&[(row.row, dead)]).await, 1);
        let letter = relay.dead_letter(&sent).await.unwrap();
        let start: String = text.chars().take_while(|c| *c != '\0').take(200).collect();
        let stored = letter.last_error.unwrap_or_default();
        assert!(stored.starts_with(&start), "at least the beginning is kept: {:?}", stored.get(..300));
    }
}

fn parked_alone(row: &StoredMessage) -> Outcome {
    Outcome::Dead {
        attempts: 1,
        reason: DeadReason::Rejected,
        error: None,
        parked_behind: Some(*row.message.id()),
    }
}
