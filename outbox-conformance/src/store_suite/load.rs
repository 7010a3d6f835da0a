//! Several producers and a relay at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;

use outbox_core::{ClaimSource, MessageId, OutboxAdmin, OutboxStore};

use super::eventually::eventually;
use super::message::{ids_of, message, messages};
use super::relay::{MANY, TestRelay, delivered};
use crate::StoreFixture;

/// A relay that reads forward with a cursor, and sweeps behind it, gets every committed message and none of those that
/// were rolled back, while many producers write at the same time.
pub async fn cursor_and_sweep_lose_nothing<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let producers = if relay.store.capabilities().late_commits { 4 } else { 1 };
    let writing: Vec<_> =
        (0..producers).map(|number| tokio::spawn(produce(Arc::clone(&fixture), number))).collect();
    let mut found = Vec::new();
    let mut cursor = 0;
    while writing.iter().any(|producer| !producer.is_finished()) {
        cursor = read_forward(&relay, cursor, &mut found).await;
        sweep(&relay, cursor, &mut found).await;
    }
    let mut committed = BTreeSet::new();
    for producer in writing {
        committed.extend(producer.await.unwrap());
    }
    eventually("the rest is read", async || {
        cursor = read_forward(&relay, cursor, &mut found).await;
        sweep(&relay, cursor, &mut found).await;
        relay.store.is_empty().await.unwrap().then_some(())
    })
    .await;
    let distinct: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(distinct, committed);
    assert_eq!(found.len(), committed.len(), "each was settled once");
}

async fn read_forward<S: OutboxStore + OutboxAdmin>(
    relay: &TestRelay<S>,
    cursor: i64,
    found: &mut Vec<MessageId>,
) -> i64 {
    let rows = relay.claim(ClaimSource::Fresh { after: cursor }).await;
    assert_eq!(relay.settle(&delivered(&rows)).await, rows.len() as u64);
    found.extend(rows.iter().map(|row| *row.message.id()));
    rows.last().map_or(cursor, |row| row.seq)
}

async fn sweep<S: OutboxStore + OutboxAdmin>(relay: &TestRelay<S>, cursor: i64, found: &mut Vec<MessageId>) {
    let seqs = relay.store.scan(&relay.scope(), 0, cursor, MANY).await.unwrap();
    if seqs.is_empty() {
        return;
    }
    let rows = relay.claim(ClaimSource::Exact { seqs }).await;
    assert_eq!(relay.settle(&delivered(&rows)).await, rows.len() as u64);
    found.extend(rows.iter().map(|row| *row.message.id()));
}

/// Returns what it committed.
async fn produce<F: StoreFixture>(fixture: Arc<F>, number: usize) -> Vec<MessageId> {
    let mut committed = Vec::new();
    for turn in 0..40 {
        let batch = messages(1 + (number + turn) % 3);
        let mut transaction = fixture.begin().await;
        transaction.enqueue(&batch).await;
        if turn % 4 == number % 4 {
            tokio::task::yield_now().await;
            transaction.enqueue(&[message()]).await;
            transaction.rollback().await;
        } else {
            transaction.commit().await;
            committed.extend(ids_of(&batch));
        }
    }
    committed
}
