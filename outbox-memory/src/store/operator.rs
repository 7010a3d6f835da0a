use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outbox_core::{
    DeadLetter, DeadLetterQuery, MessageId, OperatorAction, OrderingKey, OutboxStats, RelayInfo, ShardInfo,
    ShardSet, StoreError, StoreErrorKind,
};

use super::tables::{Shard, Tables};
use crate::clock::{Micros, between, micros, system_time};

impl Tables {
    pub(crate) fn request(&mut self, ids: &[MessageId], action: OperatorAction) -> u64 {
        let dead = self.dead.values().map(|dead| &dead.row);
        let blocked = self.deferred.values().filter(|deferred| deferred.is_retrying());
        let known: BTreeSet<MessageId> =
            dead.chain(blocked.map(|deferred| &deferred.row)).map(|row| row.id()).collect();
        let wanted: BTreeSet<MessageId> = ids.iter().copied().filter(|id| known.contains(id)).collect();
        self.requests.retain(|(id, _)| !wanted.contains(id));
        self.requests.extend(wanted.iter().map(|id| (*id, action)));
        u64::try_from(wanted.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn dead_letters(&self, query: &DeadLetterQuery) -> Vec<DeadLetter> {
        let mut found: Vec<_> = self
            .dead
            .iter()
            .filter(|(_, dead)| query.id.is_none_or(|id| id == dead.row.id()))
            .filter(|(_, dead)| {
                query.topic.as_ref().is_none_or(|topic| topic == dead.row.message.topic().as_str())
            })
            .collect();
        found.sort_unstable_by_key(|(number, dead)| std::cmp::Reverse((dead.died_at, **number)));
        let letters = found.into_iter().take(query.limit).map(|(_, dead)| DeadLetter {
            seq: dead.row.seq,
            message: dead.row.message.clone(),
            reason: dead.reason.to_owned(),
            attempts: dead.attempts,
            last_error: dead.last_error.clone(),
            died_at: system_time(dead.died_at),
            parked_behind: dead.parked_behind,
            requested: self.requests.iter().find(|(id, _)| *id == dead.row.id()).map(|(_, action)| *action),
        });
        letters.collect()
    }

    pub(crate) fn waiting_topics(&self, rows: u64) -> Vec<String> {
        let most = usize::try_from(rows).unwrap_or(usize::MAX);
        let fresh = self.fresh.values().take(most);
        let deferred = self.deferred.values().take(most).map(|deferred| &deferred.row);
        let topics = fresh.chain(deferred).map(|row| row.message.topic().as_str().to_owned());
        topics.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(crate) fn set_shard_count(&mut self, count: u8, now: Micros) -> Result<(), StoreError> {
        let refuse = |text: String| Err(StoreError::new(StoreErrorKind::Invalid, "set_shard_count", text));
        if !count.is_power_of_two() || count > ShardSet::MAX {
            return refuse(format!("{count} is no power of two from 1 to {}", ShardSet::MAX));
        }
        if self.shards.iter().any(|shard| shard.is_leased(now)) {
            return refuse("a lease is held: stop every relay first".to_owned());
        }
        // Epochs go on from the highest, so that a fence from before the change never fits again.
        let epoch = self.shards.iter().map(|shard| shard.epoch).max().unwrap_or(0);
        self.shards = vec![Shard { epoch, ..Shard::default() }; usize::from(count)];
        Ok(())
    }

    pub(crate) fn stats(&self, count_limit: u64, now: Micros) -> OutboxStats {
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX).min(count_limit);
        let deferred = || self.deferred.values();
        let blocked = self.blocked_keys();
        let oldest = self.fresh.values().filter_map(|row| row.message.created_at()).min();
        let mut stats = OutboxStats::default();
        stats.pending = count(self.fresh.len());
        stats.oldest_pending = oldest.map(|created_at| between(micros(created_at), now));
        stats.delayed = count(deferred().filter(|row| row.due_at.is_some() && row.attempts == 0).count());
        stats.retrying = count(deferred().filter(|row| row.is_retrying()).count());
        stats.held = count(deferred().filter(|row| row.held_behind.is_some()).count());
        stats.blocked_keys = count(blocked.len());
        stats.longest_blocked = blocked.values().map(|since| between(*since, now)).max();
        stats.dead = count(self.dead.len());
        stats.count_limit = count_limit;
        stats.shards =
            (0..).zip(&self.shards).map(|(number, shard)| shard_info(number, shard, now)).collect();
        stats.relays = self.relay_infos(now);
        stats
    }

    /// The keys that stand still, and since when.
    fn blocked_keys(&self) -> BTreeMap<&OrderingKey, Micros> {
        let retrying = self
            .deferred
            .values()
            .filter(|deferred| deferred.is_retrying())
            .filter_map(|deferred| Some((deferred.row.key()?, deferred.last_attempt_at?)));
        let parked = self
            .dead
            .values()
            .filter(|dead| dead.parked_behind.is_some())
            .filter_map(|dead| Some((dead.row.key()?, dead.died_at)));
        let mut blocked = BTreeMap::new();
        for (key, since) in retrying.chain(parked) {
            let earliest = blocked.entry(key).or_insert(since);
            *earliest = since.min(*earliest);
        }
        blocked
    }

    fn relay_infos(&self, now: Micros) -> Vec<RelayInfo> {
        let infos = self.relays.iter().map(|(id, relay)| RelayInfo {
            relay: id.to_string(),
            label: relay.label.clone(),
            alive: relay.alive_until > now,
            last_seen: between(relay.last_seen, now),
        });
        infos.collect()
    }
}

fn shard_info(number: u8, shard: &Shard, now: Micros) -> ShardInfo {
    ShardInfo {
        shard: number,
        owner: shard.owner.map(|owner| owner.to_string()),
        epoch: shard.epoch,
        lease_left: Some(between(now, shard.lease_until))
            .filter(|left| shard.owner.is_some() && *left > Duration::ZERO),
        unclean_takeovers: shard.unclean,
    }
}
