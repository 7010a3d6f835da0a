use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Epoch, Fence, LeaseRequest, OutboxStore, RelayId, ShardId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::config::RelayConfig;
use crate::health::StoreHealth;
use crate::metrics;
use crate::stats::Counters;
use crate::store_call::within;

/// How long a renewal that is under way when the relay ends is waited for. It could otherwise reach the database after
/// the leases were given up, and say that this relay is alive.
const LAST_RENEWAL: Duration = Duration::from_millis(500);

/// What the destinations know about the leases.
#[derive(Debug, Clone)]
pub(crate) struct LeaseView {
    pub(crate) shard_count: u8,
    pub(crate) held: BTreeMap<ShardId, Held>,
    /// The leases are trusted until then, by this process's monotonic clock: the time *before* the last renewal was
    /// sent, plus their length, less a margin.
    pub(crate) trusted_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) epoch: Epoch,
    pub(crate) unclean_takeovers: u32,
    /// To be given to another relay as soon as every destination has finished what is under way.
    pub(crate) leaving: bool,
}

impl LeaseView {
    pub(crate) fn none() -> Self {
        Self { shard_count: 1, held: BTreeMap::new(), trusted_until: None }
    }
}

/// What the destinations tell about shards.
#[derive(Debug)]
pub(crate) enum LeaseEvent {
    /// This destination has nothing of the shard under way any more.
    Left { destination: usize, shard: ShardId, epoch: Epoch },
    /// A settle was refused: look at the leases now.
    Stale,
    /// This destination has tried what was in flight when the former owners vanished.
    Absolve { destination: usize, shards: Vec<Lease> },
}

/// A shard, and under which lease.
type Lease = (ShardId, Epoch);

/// What some destinations have told, and others not yet.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<Lease, HashSet<usize>>);

impl Told {
    /// One more destination has told it of a lease. Says whether it was the last one.
    fn all_have_told(&mut self, destinations: usize, destination: usize, lease: Lease) -> bool {
        let told = self.0.entry(lease).or_default();
        told.insert(destination);
        let all = told.len() >= destinations;
        if all {
            self.0.remove(&lease);
        }
        all
    }

    /// What was told of leases that are over is of no use.
    fn retain(&mut self, held: &BTreeMap<ShardId, Held>) {
        self.0.retain(|(shard, epoch), _| held.get(shard).is_some_and(|held| held.epoch == *epoch));
    }
}

/// Keeps the leases of one relay: renews them, takes what is free up to a fair share, and hands over what exceeds it.
pub(crate) struct LeaseKeeper {
    pub(crate) store: Arc<dyn OutboxStore>,
    pub(crate) config: Arc<RelayConfig>,
    pub(crate) relay: RelayId,
    pub(crate) destinations: usize,
    pub(crate) view: watch::Sender<LeaseView>,
    pub(crate) events: mpsc::UnboundedReceiver<LeaseEvent>,
    /// Set when the destinations have finished.
    pub(crate) finished: watch::Receiver<bool>,
    pub(crate) health: Arc<StoreHealth>,
    pub(crate) counters: Arc<Counters>,
    /// Who has nothing of a shard under way any more.
    pub(crate) left: Told,
    /// Who has tried what killed the former owners of a shard, or may have.
    pub(crate) absolved: Told,
    /// Finished with by everybody, but not yet released: the store failed.
    pub(crate) unreleased: BTreeSet<Lease>,
}

impl LeaseKeeper {
    /// Keeps them until the destinations have finished, and gives them up.
    pub(crate) async fn run(mut self) {
        let mut finished = self.finished.clone();
        let late = async {
            // Its sender lives as long as the relay.
            let _ = finished.wait_for(|finished| *finished).await;
            tokio::time::sleep(LAST_RENEWAL).await;
        };
        tokio::select! {
            biased;
            () = self.keep() => {}
            () = late => {}
        }
        metrics::leases(0, 0);
        let retiring = self.store.retire(self.relay);
        if let Err(error) = within(self.config.store_timeout(), "retire", retiring).await {
            // The leases run out by themselves.
            tracing::warn!(error = %error, "the leases could not be released; another relay takes over when they run out");
        }
    }

    async fn keep(&mut self) {
        let mut next = Instant::now();
        while !*self.finished.borrow() {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next) => next = self.tick().await,
                event = self.events.recv() => match event {
                    Some(LeaseEvent::Left { destination, shard, epoch }) => {
                        if self.left.all_have_told(self.destinations, destination, (shard, epoch)) {
                            self.release(shard, epoch).await;
                        }
                    }
                    Some(LeaseEvent::Stale) => next = self.tick().await,
                    Some(LeaseEvent::Absolve { destination, shards }) => {
                        let (all, absolved) = (self.destinations, &mut self.absolved);
                        let shards = shards.into_iter();
                        let shards: Vec<Lease> =
                            shards.filter(|lease| absolved.all_have_told(all, destination, *lease)).collect();
                        if !shards.is_empty() {
                            self.absolve(shards).await;
                        }
                    }
                    None => break,
                },
                changed = self.finished.changed() => if changed.is_err() { break },
            }
        }
    }

    /// Renews, balances, and says when to do it again.
    async fn tick(&mut self) -> Instant {
        let sent = Instant::now();
        let request =
            LeaseRequest { relay: self.relay, ttl: self.config.lease_ttl, label: self.config.label.clone() };
        let lease = match within(self.config.store_timeout(), "renew", self.store.renew(&request)).await {
            Ok(lease) => lease,
            Err(error) => {
                self.health.failed(&error);
                metrics::store_up(false);
                return sent + self.config.renew_interval().min(Duration::from_secs(1));
            }
        };
        self.health.succeeded();
        metrics::store_up(true);
        let owned: BTreeMap<ShardId, Epoch> = lease.owned.iter().copied().collect();
        let before = self.view.borrow().clone();
        let mut held: BTreeMap<ShardId, Held> = owned
            .iter()
            .map(|(shard, epoch)| match before.held.get(shard) {
                Some(known) if known.epoch == *epoch => (*shard, *known),
                // Ours, though we did not know: the answer to an acquisition was lost.
                _ => (*shard, Held { epoch: *epoch, unclean_takeovers: 0, leaving: false }),
            })
            .collect();
        let lost = before.held.iter().filter(|(shard, known)| owned.get(shard) != Some(&known.epoch)).count();
        if lost > 0 {
            self.counters.leases_lost.add(lost);
            tracing::warn!(shards = lost, "leases were lost: another relay took over");
        }

        let live = usize::try_from(lease.live_relays.max(1)).unwrap_or(1);
        let count = usize::from(lease.shard_count);
        let share = count.div_ceil(live);
        let staying = held.values().filter(|lease| !lease.leaving).count();
        if staying < share {
            self.acquire(&request, share - staying, &mut held).await;
        } else {
            // Handed over by draining: the destinations finish what is under way first.
            held.values_mut()
                .rev()
                .filter(|lease| !lease.leaving)
                .take(staying - share)
                .for_each(|l| l.leaving = true);
        }
        self.counters.shards.set(held.len());
        metrics::leases(held.len(), lost);
        let hungry = held.len() < count / live;
        self.view.send_replace(LeaseView {
            shard_count: lease.shard_count,
            held,
            trusted_until: Some(sent + self.config.lease_ttl - self.config.lease_margin),
        });
        self.forget_former();
        for (shard, epoch) in std::mem::take(&mut self.unreleased) {
            self.release(shard, epoch).await;
        }
        let interval = self.config.renew_interval();
        sent + if hungry { interval.min(Duration::from_secs(1)) } else { interval }
    }

    async fn acquire(&self, request: &LeaseRequest, most: usize, held: &mut BTreeMap<ShardId, Held>) {
        match within(self.config.store_timeout(), "acquire", self.store.acquire(request, most)).await {
            Ok(acquired) if acquired.is_empty() => {}
            Ok(acquired) => {
                tracing::info!(shards = acquired.len(), "took shards over");
                for lease in acquired {
                    let unclean_takeovers = lease.unclean_takeovers;
                    held.insert(lease.shard, Held { epoch: lease.epoch, unclean_takeovers, leaving: false });
                }
            }
            Err(error) => self.health.failed(&error),
        }
    }

    /// Forgets what was told of leases that are over.
    fn forget_former(&mut self) {
        let view = self.view.borrow();
        self.left.retain(&view.held);
        self.absolved.retain(&view.held);
        self.unreleased
            .retain(|(shard, epoch)| view.held.get(shard).is_some_and(|held| held.epoch == *epoch));
    }

    async fn release(&mut self, shard: ShardId, epoch: Epoch) {
        let fence = Fence::new(self.relay, [(shard, epoch)]);
        match within(self.config.store_timeout(), "release", self.store.release(&fence)).await {
            Ok(()) => {
                tracing::info!(shard, "handed a shard over");
                self.view.send_modify(|view| {
                    if view.held.get(&shard).is_some_and(|held| held.epoch == epoch) {
                        view.held.remove(&shard);
                    }
                });
            }
            // Renewals would keep it ours for ever, with nobody at work on it: the next one is followed by another try.
            Err(error) => {
                self.health.failed(&error);
                self.unreleased.insert((shard, epoch));
            }
        }
    }

    async fn absolve(&self, shards: Vec<Lease>) {
        let fence = Fence::new(self.relay, shards.iter().copied());
        if let Err(error) = within(self.config.store_timeout(), "absolve", self.store.absolve(&fence)).await {
            self.health.failed(&error);
        }
        self.view.send_modify(|view| {
            for (shard, epoch) in &shards {
                if let Some(held) = view.held.get_mut(shard)
                    && held.epoch == *epoch
                {
                    held.unclean_takeovers = 0;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_of_a_former_lease_counts_for_no_later_one() {
        let mut told = Told::default();
        assert!(!told.all_have_told(2, 0, (5, 3)));
        assert!(!told.all_have_told(2, 0, (5, 3)), "the same one, again");
        let held = Held { epoch: 6, unclean_takeovers: 0, leaving: true };
        told.retain(&BTreeMap::from([(5, held)]));
        assert_eq!(told.0.len(), 0, "it is forgotten");
        assert!(!told.all_have_told(2, 1, (5, 6)));
        assert!(told.all_have_told(2, 0, (5, 6)));
        assert!(!told.all_have_told(2, 1, (5, 6)), "it begins anew");
    }
}
