//! When it is certain that no lower `seq` will appear.

use std::sync::Arc;

use outbox_core::{ClaimSource, OutboxStore};

use super::eventually::eventually;
use super::message::{ids_of, message, messages};
use super::relay::{TestRelay, ids};
use crate::StoreFixture;

/// A mark passes only after the transactions that were open then have committed; every row up to it is visible then.
pub async fn a_mark_waits_for_a_commit<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    if !relay.store.capabilities().late_commits {
        return;
    }
    let (late, early) = (messages(2), messages(2));
    let mut slow = fixture.begin().await;
    slow.enqueue(&late).await;
    fixture.enqueue(&early).await;
    let mark = relay.store.mark_late_commits().await.unwrap();
    let visible = relay.fresh().await;
    assert_eq!(ids(&visible), ids_of(&early));
    assert!(visible.iter().all(|row| row.seq <= mark.seq), "every number given out is at most the mark");
    for _ in 0..5 {
        assert!(!relay.store.late_commits_over(&mark).await.unwrap(), "the transaction is still open");
    }
    slow.commit().await;
    eventually("the mark passes", async || relay.store.late_commits_over(&mark).await.unwrap().then_some(()))
        .await;
    let mut rows = relay.fresh().await;
    rows.retain(|row| row.seq <= mark.seq);
    assert_eq!(ids(&rows), [ids_of(&late), ids_of(&early)].concat(), "all of them, and by seq");
}

/// A rollback lets a mark pass as well.
pub async fn a_mark_waits_for_a_rollback<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    if !relay.store.capabilities().late_commits {
        return;
    }
    let mut slow = fixture.begin().await;
    slow.enqueue(&messages(1)).await;
    let mark = relay.store.mark_late_commits().await.unwrap();
    assert!(!relay.store.late_commits_over(&mark).await.unwrap());
    slow.rollback().await;
    eventually("the mark passes", async || relay.store.late_commits_over(&mark).await.unwrap().then_some(()))
        .await;
    assert!(relay.fresh().await.is_empty());
}

/// Transactions that begin after a mark do not keep it from passing; all they write lies above it.
pub async fn later_transactions_do_not_hold_a_mark<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    if !relay.store.capabilities().late_commits {
        return;
    }
    fixture.enqueue(&messages(1)).await;
    let mark = relay.store.mark_late_commits().await.unwrap();
    let later = message();
    let mut open = fixture.begin().await;
    open.enqueue(std::slice::from_ref(&later)).await;
    eventually("the mark passes", async || relay.store.late_commits_over(&mark).await.unwrap().then_some(()))
        .await;
    open.commit().await;
    let above = relay.claim(ClaimSource::Fresh { after: mark.seq }).await;
    assert_eq!(ids(&above), [*later.id()]);
}

/// With no transaction open a mark passes, also in an empty outbox; its `seq` covers what is stored.
pub async fn a_mark_without_transactions_passes<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    for _ in 0..2 {
        let mark = relay.store.mark_late_commits().await.unwrap();
        eventually("the mark passes", async || {
            relay.store.late_commits_over(&mark).await.unwrap().then_some(())
        })
        .await;
        if !relay.store.capabilities().late_commits {
            assert!(mark.holders.is_empty(), "nothing can hold it");
        }
        let rows = relay.fresh().await;
        assert!(rows.iter().all(|row| row.seq <= mark.seq), "{mark:?}");
        fixture.enqueue(&messages(3)).await;
    }
}
