use std::time::Duration;

use outbox_core::{Fence, Lease, LeaseRequest, LeasedShard, RelayId};

use super::tables::{Relay, Shard, Tables};
use crate::clock::{Micros, duration_micros};

/// How long `outbox status` remembers a relay that died.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

impl Tables {
    pub(crate) fn renew(&mut self, request: &LeaseRequest, now: Micros) -> Lease {
        let until = now.saturating_add(duration_micros(request.ttl));
        self.relays.retain(|_, relay| relay.last_seen > now.saturating_sub(duration_micros(REMEMBERED)));
        self.relays.insert(
            request.relay,
            Relay { label: request.label.clone(), last_seen: now, alive_until: until },
        );
        let mut owned = Vec::new();
        for (number, shard) in (0..).zip(&mut self.shards) {
            if shard.owner == Some(request.relay) {
                shard.lease_until = until;
                owned.push((number, shard.epoch));
            }
        }
        let alive = self.relays.values().filter(|relay| relay.alive_until > now).count();
        Lease {
            shard_count: self.shard_count(),
            // A relay counts itself, also with a ttl of zero.
            live_relays: u32::try_from(alive).unwrap_or(u32::MAX).max(1),
            owned,
        }
    }

    pub(crate) fn acquire(&mut self, request: &LeaseRequest, most: usize, now: Micros) -> Vec<LeasedShard> {
        let until = now.saturating_add(duration_micros(request.ttl));
        let available = (0..).zip(&mut self.shards).filter(|(_, shard)| !shard.is_leased(now));
        available
            .take(most)
            .map(|(number, shard)| {
                let vanished = shard.owner.is_some();
                *shard = Shard {
                    owner: Some(request.relay),
                    epoch: shard.epoch + 1,
                    lease_until: until,
                    unclean: if vanished { shard.unclean.saturating_add(1) } else { 0 },
                };
                LeasedShard { shard: number, epoch: shard.epoch, unclean_takeovers: shard.unclean }
            })
            .collect()
    }

    pub(crate) fn release(&mut self, fence: &Fence) {
        self.owned_by(fence).for_each(Shard::free);
    }

    pub(crate) fn retire(&mut self, relay: RelayId) {
        self.relays.remove(&relay);
        self.shards.iter_mut().filter(|shard| shard.owner == Some(relay)).for_each(Shard::free);
    }

    pub(crate) fn absolve(&mut self, fence: &Fence) {
        self.owned_by(fence).for_each(|shard| shard.unclean = 0);
    }

    /// Whether every shard of the fence still has this owner and this epoch. Whether the lease has run out does not
    /// matter: until somebody takes the shard over, nobody else can have settled its rows.
    pub(crate) fn holds_fence(&self, fence: &Fence) -> bool {
        fence.shards.iter().all(|(number, epoch)| {
            let shard = self.shards.get(usize::from(*number));
            shard.is_some_and(|shard| shard.owner == Some(fence.relay) && shard.epoch == *epoch)
        })
    }

    fn owned_by<'a>(&'a mut self, fence: &'a Fence) -> impl Iterator<Item = &'a mut Shard> {
        (0..).zip(&mut self.shards).filter_map(|(number, shard)| {
            let owned = shard.owner == Some(fence.relay) && fence.shards.contains(&(number, shard.epoch));
            owned.then_some(shard)
        })
    }
}

impl Shard {
    pub(crate) fn is_leased(&self, now: Micros) -> bool {
        self.owner.is_some() && self.lease_until > now
    }

    fn free(&mut self) {
        self.owner = None;
        self.unclean = 0;
    }
}
