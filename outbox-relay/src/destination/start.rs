//! Work out: what is read, sent and settled next, and when to look again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Scope, ShardSet};
use tokio::time::Instant;

use super::reader::Look;
use super::work::{Job, ReadOrder};
use super::{Destination, FETCH_KEYS, HOLDS_INTERVAL, PROBE_MESSAGES, SETTLE_ROWS, SWEEP_PAGE, work};
use crate::breaker::Permission;
use crate::leases::LeaseEvent;
use crate::metrics::Path;
use crate::trace;

impl Destination {
    pub(super) fn start_work(&mut self, now: Instant) {
        self.queue.resume(now);
        if let Some(shards) = self.queue.end_care(self.reader.is_at_end(now)) {
            let owned = self.queue.owned();
            let shards = shards.iter().filter_map(|shard| Some((shard, owned.epoch(shard)?))).collect();
            let _ = self.shared.lease_events.send(LeaseEvent::Absolve { destination: self.number, shards });
        }
        if self.stop_deadline.is_none() {
            self.start_publishing(now);
        }
        self.start_settling(now);
        if self.stop_deadline.is_none() {
            self.start_reading(now);
        }
    }

    pub(super) fn start_publishing(&mut self, now: Instant) {
        while self.publishing < self.shared.config.concurrency && self.may_send(now) {
            let most = match self.breaker.permission(now) {
                Permission::Free => self.capabilities.max_batch.min(self.batch_limit.messages()),
                Permission::Probe if !self.queue.has_sendable() => {
                    self.breaker.probe_started();
                    self.publishing += 1;
                    self.tasks
                        .spawn(work::check(Arc::clone(&self.transport), self.shared.config.publish_timeout));
                    return;
                }
                Permission::Probe => PROBE_MESSAGES,
                Permission::Not { .. } | Permission::ProbeUnderWay => return,
            };
            let most = most.min(self.capabilities.max_in_flight.saturating_sub(self.queue.in_flight()));
            if most == 0 || !self.queue.has_sendable() {
                return;
            }
            let mut batch = self.queue.next_batch(most);
            if batch.is_empty() {
                // What was listed could not be sent after all; look again, with what that has brought up.
                continue;
            }
            batch.openings = self.breaker.openings();
            self.breaker.probe_started();
            self.publishing += 1;
            let timeout = self.shared.config.publish_timeout;
            let transport = self.capabilities.name;
            let span = trace::span(Path::Relayed, &self.health.name, transport, batch.len());
            self.tasks.spawn(work::publish(Arc::clone(&self.transport), transport, batch, timeout, span));
        }
    }

    pub(super) fn start_settling(&mut self, now: Instant) {
        if self.settling || self.settle_not_before > now {
            return;
        }
        // In turn, so that neither waits for the other.
        let requests = self.queue.has_requests() && self.requests_not_before <= now;
        let settlements = if requests && (self.queue.unsettled() == 0 || !self.settled_requests) {
            self.queue.take_requests(self.requests_per_settle)
        } else {
            self.queue.take_settlements(SETTLE_ROWS)
        };
        let Some(first) = settlements.first() else { return };
        self.settled_requests = first.is_requested();
        self.settling = true;
        self.shared.counters.settles.add(1);
        let limit = self.shared.config.store_timeout();
        self.tasks.spawn(work::settle(Arc::clone(&self.shared.store), self.shared.relay, settlements, limit));
    }

    pub(super) fn start_reading(&mut self, now: Instant) {
        if self.reading || self.read_not_before > now {
            return;
        }
        // Only while nothing is read: what a read under way brings is not looked up.
        if self.queue.keys_without_rows() > self.shared.config.max_held_keys {
            self.queue.forget_holds();
            self.look_up_holds = true;
            self.holds_at = now + HOLDS_INTERVAL;
        }
        self.waits_for_key = self.queue.waits_for_key(now);
        let Some(job) = self.next_job(now) else { return };
        self.reading = true;
        self.reader.begins(now);
        self.fetched_last = matches!(job, Job::Held { .. });
        if let Job::Look(Look::Fresh { .. }) = job {
            self.poller.look_begins();
        }
        self.shared.counters.reads.add(1);
        let known = match job {
            Job::Look(Look::Fresh { after, low: Some(low) }) => self.queue.known_between(low, after),
            _ => HashSet::default(),
        };
        let order = ReadOrder {
            known,
            bytes_in_memory: self.queue.bytes(),
            store: Arc::clone(&self.shared.store),
            scope: Scope { shards: self.queue.reading(), topics: self.topics.clone() },
            job,
            limit: self.room_for_due().max(1),
            max_bytes: self.shared.config.window_bytes.saturating_sub(self.queue.bytes()).max(1),
            page: SWEEP_PAGE,
            max_held_keys: self.shared.config.max_held_keys,
            look_up_holds: self.look_up_holds,
        };
        self.tasks.spawn(work::read(order, self.shared.config.store_timeout()));
    }

    pub(super) fn next_job(&mut self, now: Instant) -> Option<Job> {
        // While the broker is away nothing is claimed, so that it fills no memory. Held keys of gained shards are read
        // all the same: they are few, and the shard is ready when the broker is back.
        if !self.gaining.is_empty() && self.gain_not_before <= now {
            let count = self.shared.leases.borrow().shard_count;
            let shards = ShardSet::of(count, self.gaining.keys().copied());
            return Some(Job::Holds { shards, gaining: self.gaining.clone() });
        }
        if !self.may_claim() {
            return None;
        }
        if self.look_up_holds && self.holds_at <= now {
            return Some(Job::Holds { shards: self.queue.reading(), gaining: BTreeMap::new() });
        }
        let room = self.room();
        let may_fetch = room > 0 && self.queue.wants_fetch() && self.fetch_not_before <= now;
        if may_fetch && !self.fetched_last {
            let keys = self.queue.start_fetch(FETCH_KEYS, self.reader.read_upto());
            if !keys.is_empty() {
                return Some(Job::Held { keys });
            }
        }
        if let Some(look) = self.reader.next_look(now, self.room_for_due()) {
            return Some(Job::Look(look));
        }
        if room > 0 && self.poller.next_look() <= now {
            return Some(Job::Look(self.reader.look_forward()));
        }
        if may_fetch {
            let keys = self.queue.start_fetch(FETCH_KEYS, self.reader.read_upto());
            return (!keys.is_empty()).then_some(Job::Held { keys });
        }
        None
    }

    pub(super) fn may_claim(&self) -> bool {
        (self.breaker.is_closed() || self.suspect) && !self.queue.reading().is_empty()
    }

    /// How many rows may be read now: a whole batch or nothing, so that a full window is not topped up row by row.
    pub(super) fn room(&self) -> usize {
        if self.waits_for_key.is_some() {
            return 0;
        }
        let config = &self.shared.config;
        let (rows, bytes) = (self.queue.rows(), self.queue.bytes());
        if rows == 0 {
            return config.batch_size.min(config.window_rows);
        }
        let fits = rows + config.batch_size <= config.window_rows && bytes < config.window_bytes / 4 * 3;
        if fits { config.batch_size } else { 0 }
    }

    /// The same for due rows. One of them may be what a full window waits for.
    pub(super) fn room_for_due(&self) -> usize {
        let room = self.room();
        if room == 0 && self.queue.awaits_deferred_row() { self.shared.config.batch_size } else { room }
    }

    pub(super) fn next_time(&self, now: Instant) -> Instant {
        let mut times = vec![now + Duration::from_secs(3600)];
        times.extend(self.queue.next_resume());
        times.extend(self.stop_deadline);
        if self.stop_deadline.is_none() && !self.reading {
            if !self.gaining.is_empty() {
                times.push(self.gain_not_before.max(self.read_not_before));
            }
            if self.may_claim() {
                if self.look_up_holds {
                    times.push(self.holds_at.max(self.read_not_before));
                }
                times.push(self.reader.next_time(self.room_for_due()).max(self.read_not_before));
                times.extend(self.waits_for_key.map(|until| until.max(self.read_not_before)));
                if self.room() > 0 {
                    times.push(self.poller.next_look().max(self.read_not_before));
                    // Without a pause it was begun already.
                    if self.queue.wants_fetch() && self.fetch_not_before > now {
                        times.push(self.fetch_not_before.max(self.read_not_before));
                    }
                }
            }
        }
        if !self.settling {
            if self.queue.unsettled() > 0 {
                times.push(self.settle_not_before);
            }
            if self.queue.has_requests() {
                times.push(self.settle_not_before.max(self.requests_not_before));
            }
        }
        if let Permission::Not { until } = self.breaker.permission(now) {
            times.push(until);
        }
        times.into_iter().min().unwrap_or(now).max(now)
    }
}
