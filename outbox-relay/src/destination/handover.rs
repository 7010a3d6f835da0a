//! Shards that this destination gains, works on and hands over.

use std::collections::BTreeMap;

use outbox_core::{KeyHold, ShardId, ShardSet};
use tokio::time::Instant;

use super::careful::UNCLEAN_TAKEOVERS;
use super::{Destination, HOLDS_INTERVAL, Lease};
use crate::leases::{LeaseEvent, LeaseView};

impl Destination {
    pub(super) fn follow_leases(&mut self, view: &LeaseView) {
        let lost: Vec<ShardId> = self
            .queue
            .owned()
            .shards()
            .iter()
            .filter(|shard| view.held.get(shard).map(|held| held.epoch) != self.queue.owned().epoch(*shard))
            .collect();
        lost.into_iter().for_each(|shard| self.queue.lose(shard));
        self.gaining
            .retain(|shard, lease| view.held.get(shard).is_some_and(|held| held.epoch == lease.epoch));
        self.left.retain(|(shard, epoch)| view.held.get(shard).is_some_and(|held| held.epoch == *epoch));
        for (shard, held) in &view.held {
            let owned = self.queue.owned().epoch(*shard).is_some();
            if self.left.contains(&(*shard, held.epoch)) {
                continue;
            }
            if held.leaving {
                self.gaining.remove(shard);
                if owned {
                    self.queue.leave(*shard);
                }
                if self.queue.has_left(*shard) {
                    self.queue.lose(*shard);
                    self.left.insert((*shard, held.epoch));
                    let (destination, shard, epoch) = (self.number, *shard, held.epoch);
                    let _ = self.shared.lease_events.send(LeaseEvent::Left { destination, shard, epoch });
                }
            } else if !owned && self.queue.has_left(*shard) {
                // Not before the last row of an earlier lease is out of memory: it would not be read again, and the
                // later ones of its key would overtake it.
                let careful = held.unclean_takeovers >= UNCLEAN_TAKEOVERS;
                self.gaining.insert(*shard, Lease { epoch: held.epoch, careful });
            }
        }
    }

    /// Whether what is sent now surely ends before the leases run out.
    pub(super) fn may_send(&self, now: Instant) -> bool {
        let trusted_until = self.shared.leases.borrow().trusted_until;
        trusted_until.is_some_and(|until| now + self.shared.config.publish_timeout < until)
    }

    /// Takes shards in, now that their held keys are known. Their rows may be anywhere below the cursor.
    ///
    /// A shard that was lost while this was read is not taken in, also if it has come back meanwhile under another lease:
    /// its owner in between may have changed what was read.
    pub(super) fn gain(
        &mut self,
        shards: ShardSet,
        mut gained: BTreeMap<ShardId, Lease>,
        holds: Vec<KeyHold>,
        now: Instant,
    ) {
        let overflow = holds.len() >= self.shared.config.max_held_keys;
        let all = self.queue.reading().iter().all(|shard| shards.contains(shard));
        self.look_up_holds = overflow || (self.look_up_holds && !all);
        self.holds_at = now + HOLDS_INTERVAL;
        gained.retain(|shard, lease| self.gaining.get(shard).is_some_and(|now| now.epoch == lease.epoch));
        for (shard, lease) in &gained {
            self.gaining.remove(shard);
            self.queue.gain(shards.count(), *shard, lease.epoch, lease.careful);
        }
        self.queue.take_holds(holds);
        if !gained.is_empty() {
            self.reader.rewind(now);
            self.poller.look_now(now);
        }
    }
}
