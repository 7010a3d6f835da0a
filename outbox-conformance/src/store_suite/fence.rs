//! That only the owner of a shard can change its rows.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{
    DeadReason, Fence, OperatorAction, OutboxAdmin, OutboxStore, Outcome, RelayId, RowId, Settled,
    StoreCapabilities,
};

use super::message::{delayed, keyed, keyed_messages, message};
use super::relay::{BRIEF, TestRelay, delivered, ids, rejected, retry};
use crate::StoreFixture;

/// A settle under a stale fence changes nothing, whatever the outcome, and says so: the fence of another relay, of an
/// earlier epoch, and one in which a single shard is stale.
pub async fn a_stale_fence_changes_nothing<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let outcomes = one_of_each(&*fixture, &relay).await;
    let right = relay.fence();
    let stranger = Fence::new(RelayId::new(), right.shards.iter().copied());
    let earlier = Fence::new(relay.id, right.shards.iter().map(|(shard, epoch)| (*shard, epoch - 1)));
    let later = Fence::new(relay.id, right.shards.iter().map(|(shard, epoch)| (*shard, epoch + 1)));
    let mut single = right.clone();
    single.shards[0].1 -= 1;
    let mut unknown = right.clone();
    unknown.shards.push((u8::MAX, 1));

    let before = picture(&relay).await;
    for fence in [&stranger, &earlier, &later, &single, &unknown] {
        for outcome in &outcomes {
            let settled = relay.settle_with(fence, std::slice::from_ref(outcome)).await;
            assert_eq!(settled, Settled { applied: 0, stale: true }, "{outcome:?} under {fence:?}");
        }
        let settled = relay.settle_with(fence, &outcomes).await;
        assert_eq!(settled, Settled { applied: 0, stale: true }, "all at once under {fence:?}");
        assert_eq!(picture(&relay).await, before, "{fence:?}");
    }
    for outcome in &outcomes {
        let before = picture(&relay).await;
        assert!(relay.settle(std::slice::from_ref(outcome)).await >= 1, "{outcome:?} under the right fence");
        assert_ne!(picture(&relay).await, before, "{outcome:?} is seen in the picture");
    }
}

/// A relay that lost a shard to another can't settle any more, and its successor can.
pub async fn a_take_over_ends_the_fence<F: StoreFixture>(fixture: Arc<F>) {
    let stalled = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&[message()]).await;
    let rows = stalled.fresh().await;
    stalled.renew(BRIEF).await;
    let mut successor = TestRelay::idle(&*fixture).await;
    successor.take_over().await;
    let settled = stalled.settle_with(&stalled.fence(), &delivered(&rows)).await;
    assert_eq!(settled, Settled { applied: 0, stale: true });
    assert_eq!(ids(&successor.fresh().await), ids(&rows));
    assert_eq!(successor.settle(&delivered(&rows)).await, 1);
}

/// So does a release, by the relay itself.
pub async fn a_release_ends_the_fence<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&[message()]).await;
    let rows = relay.fresh().await;
    relay.store.release(&relay.fence()).await.unwrap();
    let settled = relay.settle_with(&relay.fence(), &delivered(&rows)).await;
    assert_eq!(settled, Settled { applied: 0, stale: true });
    assert_eq!(relay.fresh().await.len(), 1);
}

/// A lease that has run out but that nobody took over still covers a settle: nobody else can have settled the row.
pub async fn an_expired_lease_that_nobody_took_still_covers<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&[message()]).await;
    let rows = relay.fresh().await;
    relay.renew(BRIEF).await;
    super::eventually::eventually("the lease runs out", async || {
        let stats = relay.store.stats(1).await.unwrap();
        stats.shards.iter().all(|shard| shard.lease_left.is_none()).then_some(())
    })
    .await;
    assert_eq!(relay.settle(&delivered(&rows)).await, 1);
}

/// A fence needs to name only the shards whose rows are settled: losing another one does not matter.
pub async fn a_fence_is_as_wide_as_its_rows<F: StoreFixture>(fixture: Arc<F>) {
    let capabilities: StoreCapabilities = fixture.store().capabilities();
    if capabilities.max_shards < 2 {
        return;
    }
    let relay = TestRelay::owner(&*fixture).await;
    fixture.enqueue(&[message()]).await;
    let rows = relay.fresh().await;
    let (mine, lost): (Vec<_>, Vec<_>) = relay.owned.iter().partition(|(shard, _)| *shard == rows[0].shard);
    relay.store.release(&Fence::new(relay.id, lost)).await.unwrap();
    let settled = relay.settle_with(&Fence::new(relay.id, mine), &delivered(&rows)).await;
    assert_eq!(settled, Settled { applied: 1, stale: false });
}

/// When a take-over and a settle meet, either the settle counts, and the successor does not see the row, or the
/// successor has it, and the settle changed nothing. Never both.
pub async fn a_take_over_and_a_settle_never_both_win<F: StoreFixture>(fixture: Arc<F>) {
    let mut owner = TestRelay::owner(&*fixture).await;
    let mut other = TestRelay::idle(&*fixture).await;
    for round in 0..60 {
        fixture.enqueue(&[message()]).await;
        let rows = owner.fresh().await;
        let row = rows[0].row;
        let outcome = match round % 3 {
            0 => Outcome::Delivered,
            1 => rejected(),
            _ => retry(1, Duration::from_secs(600)),
        };
        owner.renew(BRIEF).await;
        let taking = tokio::spawn(async move {
            other.take_over().await;
            let seen = other.fresh().await;
            (other, seen)
        });
        let settling = tokio::spawn(async move {
            // Some rounds give the take-over a head start.
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            let settled = owner.settle_with(&owner.fence(), &[(row, outcome)]).await;
            (owner, settled)
        });
        let (successor, seen) = taking.await.unwrap();
        let (stalled, settled) = settling.await.unwrap();
        assert_eq!(settled.stale, settled.applied == 0);
        assert_eq!(
            seen.is_empty(),
            !settled.stale,
            "round {round}: {settled:?}, the successor saw {}",
            seen.len()
        );
        successor.settle(&delivered(&seen)).await;
        (owner, other) = (successor, stalled);
        other.owned.clear();
    }
}

/// A row in each state, and for each an outcome that changes it.
async fn one_of_each<F: StoreFixture>(fixture: &F, relay: &TestRelay<F::Store>) -> Vec<(RowId, Outcome)> {
    let blocked = keyed_messages("blocked", 2);
    let parked = keyed_messages("parked", 2);
    let dead = [message(), message()];
    let mut fresh: Vec<_> = (0..5).map(|_| message()).collect();
    fresh.push(delayed(Duration::from_secs(600)));
    fixture.enqueue(&blocked).await;
    relay.block(&blocked, Duration::from_secs(600)).await;
    fixture.enqueue(&parked).await;
    relay.park(&parked).await;
    fixture.enqueue(&dead).await;
    let rows = relay.fresh().await;
    relay.settle(&[(rows[0].row, rejected()), (rows[1].row, rejected())]).await;
    fresh[4] = keyed("to be held");
    fixture.enqueue(&fresh).await;

    let held = relay.held("blocked").await;
    let rows = relay.fresh().await;
    let replay = relay.asked(&dead[0], OperatorAction::Replay).await;
    let discard = relay.asked(&dead[1], OperatorAction::Discard).await;
    let unpark = relay.asked(&parked[0], OperatorAction::Replay).await;
    let hurry = relay.asked(&blocked[0], OperatorAction::Replay).await;
    let park = Outcome::Dead {
        attempts: 0,
        reason: DeadReason::ParkedBehind,
        error: None,
        parked_behind: Some(*blocked[0].id()),
    };
    vec![
        (rows[0].row, Outcome::Delivered),
        (rows[1].row, retry(1, Duration::from_secs(600))),
        (rows[2].row, Outcome::Begin { attempts: 1 }),
        (rows[3].row, rejected()),
        (rows[4].row, Outcome::Hold { behind: *fresh[0].id() }),
        (rows[5].row, Outcome::Delay),
        (held[0].row, park),
        (replay.row, Outcome::Replay),
        (discard.row, Outcome::Discard),
        (unpark.row, Outcome::Replay),
        (hurry.row, Outcome::Replay),
        (hurry.row, Outcome::Delivered),
    ]
}

/// Everything that a settle can change, in a form that can be compared.
async fn picture<S: OutboxStore + OutboxAdmin>(relay: &TestRelay<S>) -> Vec<String> {
    let mut picture = Vec::new();
    let mut rows = relay.fresh().await;
    rows.extend(relay.due().await);
    for key in ["blocked", "parked", "to be held"] {
        rows.extend(relay.held(key).await);
        picture.push(format!("{key} {:?}", relay.hold(key).await));
    }
    picture.extend(rows.iter().map(|row| {
        format!("{:?} {} {} {} {:?}", row.row, row.message.id(), row.attempts, row.held, row.due_position)
    }));
    picture.extend(relay.dead().await.iter().map(|letter| {
        let (id, behind) = (letter.message.id(), letter.parked_behind);
        format!("dead {id} {} {} {behind:?} {:?}", letter.reason, letter.attempts, letter.requested)
    }));
    picture.extend(relay.requests().await.iter().map(|request| format!("{request:?}")));
    let stats = relay.store.stats(1_000).await.unwrap();
    picture.push(format!("{} {} {} {}", stats.pending, stats.delayed, stats.retrying, stats.held));
    picture
}
