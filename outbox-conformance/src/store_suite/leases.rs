//! Who owns which shard, by the database's clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Fence, OutboxAdmin, OutboxStore, ShardId};

use super::eventually::eventually;
use super::relay::{BRIEF, LONG, MANY, TestRelay};
use crate::StoreFixture;

/// A relay gets shards that are free, at most as many as it asks for, and none that another holds.
pub async fn only_free_shards_are_given<F: StoreFixture>(fixture: Arc<F>) {
    let mut first = TestRelay::idle(&*fixture).await;
    let all = usize::from(first.shard_count);
    assert!(all.is_power_of_two() && all <= usize::from(first.store.capabilities().max_shards));
    assert!(first.acquire(0).await.is_empty());
    let share = all.div_ceil(2);
    assert_eq!(first.acquire(share).await.len(), share);

    let mut second = TestRelay::idle(&*fixture).await;
    assert_eq!(second.acquire(MANY).await.len(), all - share);
    assert!(numbers(&first).is_disjoint(&numbers(&second)));
    assert_eq!(numbers(&first).len() + numbers(&second).len(), all);
    let mut third = TestRelay::idle(&*fixture).await;
    assert!(third.acquire(MANY).await.is_empty(), "all are held");
    assert!(first.owned.iter().all(|(_, epoch)| *epoch >= 1));
}

/// A shard whose lease has run out is given to the next who asks, with its epoch raised by one, and counted as an
/// unclean take-over for as long as its owners vanish.
pub async fn an_expired_shard_is_taken_over<F: StoreFixture>(fixture: Arc<F>) {
    let mut owner = TestRelay::owner(&*fixture).await;
    for unclean in 1..=3 {
        owner.renew(BRIEF).await;
        let mut next = TestRelay::idle(&*fixture).await;
        let leased = next.take_over().await;
        for shard in &leased {
            let (_, epoch) = owner.owned.iter().find(|(number, _)| *number == shard.shard).unwrap();
            assert_eq!((shard.epoch, shard.unclean_takeovers), (epoch + 1, unclean));
        }
        owner = next;
    }
    owner.store.absolve(&owner.fence()).await.unwrap();
    owner.renew(BRIEF).await;
    let mut next = TestRelay::idle(&*fixture).await;
    let leased = next.take_over().await;
    assert!(
        leased.iter().all(|shard| shard.unclean_takeovers == 1),
        "absolved, and then once more: {leased:?}"
    );
}

/// Only the owner can absolve, and only with the current epoch.
pub async fn only_the_owner_absolves<F: StoreFixture>(fixture: Arc<F>) {
    let stalled = TestRelay::owner(&*fixture).await;
    stalled.renew(BRIEF).await;
    let mut owner = TestRelay::idle(&*fixture).await;
    owner.take_over().await;
    stalled.store.absolve(&stalled.fence()).await.unwrap();
    let wrong = Fence::new(owner.id, owner.owned.iter().map(|(shard, epoch)| (*shard, epoch - 1)));
    owner.store.absolve(&wrong).await.unwrap();
    let shards = owner.store.stats(1).await.unwrap().shards;
    assert!(shards.iter().all(|shard| shard.unclean_takeovers == 1), "{shards:?}");
    owner.store.absolve(&owner.fence()).await.unwrap();
    let shards = owner.store.stats(1).await.unwrap().shards;
    assert!(shards.iter().all(|shard| shard.unclean_takeovers == 0), "{shards:?}");
}

/// A shard that was given back can be taken at once, with its epoch raised by one, and counts as clean, whatever
/// happened before.
pub async fn a_released_shard_is_free_and_clean<F: StoreFixture>(fixture: Arc<F>) {
    let vanished = TestRelay::owner(&*fixture).await;
    vanished.renew(BRIEF).await;
    let mut owner = TestRelay::idle(&*fixture).await;
    owner.take_over().await;
    owner.store.release(&owner.fence()).await.unwrap();
    assert!(owner.renew(LONG).await.owned.is_empty());
    let mut next = TestRelay::idle(&*fixture).await;
    let leased = next.acquire(MANY).await;
    assert_eq!(leased.len(), usize::from(next.shard_count));
    for shard in leased {
        let (_, epoch) = owner.owned.iter().find(|(number, _)| *number == shard.shard).unwrap();
        assert_eq!((shard.epoch, shard.unclean_takeovers), (epoch + 1, 0));
    }
}

/// A release with another's shard, or with an old epoch, changes nothing.
pub async fn a_wrong_release_is_ignored<F: StoreFixture>(fixture: Arc<F>) {
    let owner = TestRelay::owner(&*fixture).await;
    let mut other = TestRelay::idle(&*fixture).await;
    let stolen = Fence::new(other.id, owner.owned.iter().copied());
    other.store.release(&stolen).await.unwrap();
    let old = Fence::new(owner.id, owner.owned.iter().map(|(shard, epoch)| (*shard, epoch - 1)));
    owner.store.release(&old).await.unwrap();
    assert!(other.acquire(MANY).await.is_empty());
    assert_eq!(owner.renew(LONG).await.owned.len(), owner.owned.len());
}

/// A renewal keeps every shard with its epoch, also one whose lease had run out, if nobody took it over.
pub async fn a_renewal_keeps_what_nobody_took<F: StoreFixture>(fixture: Arc<F>) {
    let owner = TestRelay::owner(&*fixture).await;
    owner.renew(BRIEF).await;
    eventually("the leases run out", async || {
        let shards = owner.store.stats(1).await.unwrap().shards;
        shards.iter().all(|shard| shard.lease_left.is_none()).then_some(())
    })
    .await;
    let lease = owner.renew(LONG).await;
    let (mut kept, mut owned) = (lease.owned, owner.owned.clone());
    kept.sort_unstable();
    owned.sort_unstable();
    assert_eq!((kept, lease.shard_count), (owned, owner.shard_count));
    let mut other = TestRelay::idle(&*fixture).await;
    assert!(other.acquire(MANY).await.is_empty(), "they are held again");
}

/// A renewal neither keeps nor takes back what another took over.
pub async fn a_renewal_takes_nothing_back<F: StoreFixture>(fixture: Arc<F>) {
    let stalled = TestRelay::owner(&*fixture).await;
    stalled.renew(BRIEF).await;
    let mut owner = TestRelay::idle(&*fixture).await;
    owner.take_over().await;
    assert!(stalled.renew(LONG).await.owned.is_empty());
    assert_eq!(owner.renew(LONG).await.owned.len(), owner.owned.len());
}

/// A relay that retires is gone, and what it owned is free at once.
pub async fn a_retired_relay_leaves_everything<F: StoreFixture>(fixture: Arc<F>) {
    let owner = TestRelay::owner(&*fixture).await;
    let mut other = TestRelay::idle(&*fixture).await;
    assert_eq!(other.renew(LONG).await.live_relays, 2);
    owner.store.retire(owner.id).await.unwrap();
    assert_eq!(other.renew(LONG).await.live_relays, 1);
    let leased = other.acquire(MANY).await;
    assert_eq!(leased.len(), usize::from(other.shard_count));
    assert!(leased.iter().all(|shard| shard.unclean_takeovers == 0));
    owner.store.retire(owner.id).await.unwrap();
    assert_eq!(other.renew(LONG).await.owned.len(), leased.len(), "a second time changes nothing");
}

/// Live relays are those that gave a sign of life within their own ttl.
pub async fn live_relays_are_counted<F: StoreFixture>(fixture: Arc<F>) {
    let first = TestRelay::idle(&*fixture).await;
    assert_eq!(first.renew(LONG).await.live_relays, 1, "it counts itself, once");
    let second = TestRelay::idle(&*fixture).await;
    assert_eq!(first.renew(LONG).await.live_relays, 2);
    second.renew(BRIEF).await;
    eventually("the second one's ttl ends", async || {
        (first.renew(LONG).await.live_relays == 1).then_some(())
    })
    .await;
    assert_eq!(second.renew(LONG).await.live_relays, 2, "it is back");
}

/// Relays that ask at the same time never get the same shard, and together they get all.
pub async fn relays_that_ask_at_once_share_nothing<F: StoreFixture>(fixture: Arc<F>) {
    for round in 0..10 {
        let mut asking = Vec::new();
        for _ in 0..4 {
            let mut relay = TestRelay::idle(&*fixture).await;
            asking.push(tokio::spawn(async move {
                relay.acquire(usize::from(relay.shard_count).div_ceil(3)).await;
                relay
            }));
        }
        let mut relays = Vec::new();
        for asked in asking {
            relays.push(asked.await.unwrap());
        }
        let mut given: Vec<ShardId> = relays.iter().flat_map(numbers).collect();
        given.sort_unstable();
        let distinct: BTreeSet<ShardId> = given.iter().copied().collect();
        assert_eq!(given.len(), distinct.len(), "round {round}: a shard was given twice: {given:?}");
        // One may have looked while another's were not yet committed; what is left is there for the next.
        let mut last = TestRelay::idle(&*fixture).await;
        last.acquire(MANY).await;
        assert_eq!(given.len() + last.owned.len(), usize::from(last.shard_count));
        relays.push(last);
        for relay in relays {
            relay.store.retire(relay.id).await.unwrap();
        }
    }
}

/// A lease lasts for its ttl from the database's current time.
pub async fn a_lease_lasts_from_now<F: StoreFixture>(fixture: Arc<F>) {
    let left = async |relay: &TestRelay<F::Store>| -> Duration {
        let shards = relay.store.stats(1).await.unwrap().shards;
        shards.iter().filter_map(|shard| shard.lease_left).min().expect("a lease is held")
    };
    let relay = TestRelay::owner(&*fixture).await;
    let acquired = left(&relay).await;
    assert!(acquired <= LONG && acquired > LONG - Duration::from_secs(60), "{acquired:?}");
    relay.renew(LONG * 2).await;
    let renewed = left(&relay).await;
    assert!(renewed <= LONG * 2 && renewed > LONG * 2 - Duration::from_secs(60), "{renewed:?}");
}

fn numbers<S>(relay: &TestRelay<S>) -> BTreeSet<ShardId> {
    relay.owned.iter().map(|(shard, _)| *shard).collect()
}
