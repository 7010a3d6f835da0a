//! What operators see.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outbox_core::{DeadLetterQuery, MessageId, OperatorAction, OutboxAdmin, Outcome, Severity};

use super::message::{about, delayed, keyed_messages, message, messages};
use super::relay::{BRIEF, LONG, MANY, TestRelay, rejected, retry};
use crate::StoreFixture;

/// Dead letters are listed the newest first, at most `limit`, by id or topic if asked.
pub async fn dead_letters_are_listed<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch: Vec<_> = ["a", "b", "a", "a_", "A"].map(|topic| about(topic).build().unwrap()).into();
    for message in &batch {
        fixture.enqueue(std::slice::from_ref(message)).await;
        let row = relay.fresh_row(message).await;
        relay.settle(&[(row, rejected())]).await;
    }
    let list = async |query: DeadLetterQuery| -> Vec<MessageId> {
        let letters = relay.store.dead_letters(&query).await.unwrap();
        letters.iter().map(|letter| *letter.message.id()).collect()
    };
    let of =
        |indexes: &[usize]| -> Vec<MessageId> { indexes.iter().map(|index| *batch[*index].id()).collect() };
    let all = DeadLetterQuery { limit: MANY, ..DeadLetterQuery::default() };
    assert_eq!(list(all.clone()).await, of(&[4, 3, 2, 1, 0]));
    assert_eq!(list(DeadLetterQuery { limit: 2, ..all.clone() }).await, of(&[4, 3]));
    let topic = |topic: &str| Some(topic.to_owned());
    assert_eq!(list(DeadLetterQuery { topic: topic("a"), ..all.clone() }).await, of(&[2, 0]));
    assert!(list(DeadLetterQuery { topic: topic("%"), ..all.clone() }).await.is_empty());
    let id = |index: usize| Some(*batch[index].id());
    assert_eq!(list(DeadLetterQuery { id: id(1), ..all.clone() }).await, of(&[1]));
    assert!(list(DeadLetterQuery { id: id(1), topic: topic("a"), ..all }).await.is_empty());

    let letters = relay.dead().await;
    assert!(letters.is_sorted_by(|newer, older| newer.died_at >= older.died_at));
    let now = SystemTime::now();
    for letter in letters {
        let off = now.duration_since(letter.died_at).or_else(|_| letter.died_at.duration_since(now)).unwrap();
        assert!(off < Duration::from_secs(300), "a time zone got lost: {off:?}");
        assert_eq!((letter.reason.as_str(), letter.attempts), ("rejected", 1));
        assert_eq!(letter.last_error.as_deref(), Some("too large"));
    }
}

/// A dead letter shows what was asked for and not yet carried out.
pub async fn dead_letters_show_requests<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let sent = message();
    fixture.enqueue(std::slice::from_ref(&sent)).await;
    let row = relay.fresh_row(&sent).await;
    relay.settle(&[(row, rejected())]).await;
    assert_eq!(relay.dead_letter(&sent).await.unwrap().requested, None);
    relay.asked(&sent, OperatorAction::Discard).await;
    assert_eq!(relay.dead_letter(&sent).await.unwrap().requested, Some(OperatorAction::Discard));
}

/// The figures count each state.
pub async fn figures_count_each_state<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let stats = relay.store.stats(1_000).await.unwrap();
    let counts = [stats.pending, stats.delayed, stats.retrying, stats.held, stats.blocked_keys, stats.dead];
    assert_eq!(counts, [0; 6]);
    assert_eq!((stats.oldest_pending, stats.longest_blocked), (None, None));

    let blocked = keyed_messages("blocked", 4);
    let parked = keyed_messages("parked", 3);
    fixture.enqueue(&blocked).await;
    relay.block(&blocked, Duration::from_secs(600)).await;
    fixture.enqueue(&parked).await;
    relay.park(&parked).await;
    let mut waiting = messages(2);
    waiting.push(delayed(Duration::from_secs(600)));
    fixture.enqueue(&waiting).await;
    let rows = relay.fresh().await;
    relay
        .settle(&[
            (rows[0].row, rejected()),
            (rows[1].row, retry(1, Duration::from_secs(600))),
            (rows[2].row, Outcome::Delay),
        ])
        .await;
    fixture.enqueue(&messages(5)).await;

    let stats = relay.store.stats(1_000).await.unwrap();
    let counts = [stats.pending, stats.delayed, stats.retrying, stats.held, stats.blocked_keys, stats.dead];
    assert_eq!(counts, [5, 1, 2, 3, 2, 4]);
    assert_eq!(stats.count_limit, 1_000);
    assert!(stats.oldest_pending.unwrap() < Duration::from_secs(300));
    assert!(stats.longest_blocked.unwrap() < Duration::from_secs(300));
}

/// Counts stop at the limit.
pub async fn counts_stop_at_their_limit<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&messages(12)).await;
    let rows = relay.fresh().await;
    relay.settle(&rows.iter().map(|row| (row.row, rejected())).collect::<Vec<_>>()).await;
    fixture.enqueue(&messages(12)).await;
    let stats = relay.store.stats(10).await.unwrap();
    assert_eq!((stats.pending, stats.dead, stats.count_limit), (10, 10, 10));
}

/// Every shard is listed with its owner, every relay with its label.
pub async fn owners_are_listed<F: StoreFixture>(fixture: Arc<F>) {
    let mut relay = TestRelay::idle(&*fixture).await;
    let free = relay.store.stats(1).await.unwrap().shards;
    assert_eq!(
        free.iter().map(|shard| shard.shard).collect::<Vec<_>>(),
        (0..relay.shard_count).collect::<Vec<_>>()
    );
    assert!(free.iter().all(|shard| shard.owner.is_none() && shard.lease_left.is_none()));

    relay.acquire(MANY).await;
    let stats = relay.store.stats(1).await.unwrap();
    for shard in &stats.shards {
        assert_eq!(shard.owner, Some(relay.id.to_string()));
        assert!(relay.owned.contains(&(shard.shard, shard.epoch)));
        assert!(shard.lease_left.is_some_and(|left| left <= LONG));
    }
    let [info] = stats.relays.as_slice() else { panic!("one relay is known: {:?}", stats.relays) };
    assert_eq!((info.relay.as_str(), info.label.as_str()), (relay.id.to_string().as_str(), "test relay"));
    assert!(info.alive && info.last_seen < Duration::from_secs(300));

    relay.renew(BRIEF).await;
    super::eventually::eventually("the relay counts as dead", async || {
        let stats = relay.store.stats(1).await.unwrap();
        let ended = stats.shards.iter().all(|shard| shard.lease_left.is_none() && shard.owner.is_some());
        (ended && stats.relays.iter().all(|relay| !relay.alive)).then_some(())
    })
    .await;
}

/// A diagnosis finds what is wrong, and nothing where all is well.
pub async fn a_diagnosis_finds_what_is_wrong<F: StoreFixture>(fixture: Arc<F>) {
    let worst = async |store: Arc<F::Store>| {
        let findings = store.diagnose().await;
        for finding in &findings {
            assert_eq!(finding.remedy.is_none(), finding.severity == Severity::Ok, "{finding}");
        }
        findings.iter().map(|finding| finding.severity).max().unwrap()
    };
    assert_eq!(worst(fixture.store()).await, Severity::Ok, "{:?}", fixture.store().diagnose().await);
    assert_eq!(worst(fixture.unmigrated().await).await, Severity::Error);
}

/// The topics of what waits are listed once each, whether it waits for its turn or for a time.
pub async fn topics_of_what_waits_are_listed<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    assert!(relay.store.waiting_topics(100).await.unwrap().is_empty());
    let batch: Vec<_> = ["b", "a", "b", "B"].map(|topic| about(topic).build().unwrap()).into();
    fixture.enqueue(&batch).await;
    let row = relay.fresh_row(&batch[1]).await;
    relay.settle(&[(row, retry(1, LONG))]).await;
    let mut found = relay.store.waiting_topics(100).await.unwrap();
    found.sort();
    assert_eq!(found, ["B", "a", "b"]);
    assert_eq!(relay.store.waiting_topics(1).await.unwrap().len(), 2, "one row of each table");
}
