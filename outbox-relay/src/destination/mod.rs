//! One destination: its transport, the topics that go there, and everything between the table and the broker.
//!
//! The parts that decide ([`Queue`], [`Reader`], [`Breaker`], [`Poller`]) are state machines without I/O. The loop in
//! here asks them what to do, has it done by tasks, and tells them what came of it. At any time one read, one settle
//! and several publishes are under way, so the next claim is read while the last is being published and the one before
//! is being settled.

mod careful;
mod entry;
mod key;
mod owned;
mod queue;
mod reader;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use outbox_core::{
    Epoch, OutboxStore, PublishError, RelayId, Scope, ShardId, ShardSet, StoreError, TopicFilter, Transport,
    TransportCapabilities,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::careful::UNCLEAN_TAKEOVERS;
use self::entry::{Batch, Results, Settlement};
use self::queue::{Queue, QueuePolicy};
use self::reader::{Look, Reader, ReaderConfig};
use self::work::{Event, Found, Job, REQUESTS_PER_READ, ReadOrder};
use crate::breaker::{Breaker, Change, Permission};
use crate::config::RelayConfig;
use crate::error::RelayError;
use crate::health::StoreHealth;
use crate::leases::{LeaseEvent, LeaseView};
use crate::poller::Poller;
use crate::stats::Counters;

/// What all destinations of a relay share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) relay: RelayId,
    pub(crate) store: Arc<dyn OutboxStore>,
    pub(crate) config: Arc<RelayConfig>,
    pub(crate) leases: watch::Receiver<LeaseView>,
    pub(crate) lease_events: mpsc::UnboundedSender<LeaseEvent>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) health: Arc<StoreHealth>,
    pub(crate) counters: Arc<Counters>,
}

pub(crate) struct Destination {
    shared: Shared,
    number: usize,
    name: String,
    transport: Arc<dyn Transport>,
    capabilities: TransportCapabilities,
    topics: TopicFilter,
    hints: Arc<Notify>,
    queue: Queue,
    reader: Reader,
    poller: Poller,
    breaker: Breaker,
    /// Leases that are not yet worked on: their held keys are to be read first.
    gaining: BTreeMap<ShardId, Lease>,
    /// Leases that this destination has finished with, until the keeper has released them.
    left: BTreeSet<(ShardId, Epoch)>,
    tasks: JoinSet<Event>,
    reading: bool,
    settling: bool,
    publishing: usize,
    read_not_before: Instant,
    settle_not_before: Instant,
    read_pauses: Pauses,
    settle_pauses: Pauses,
    /// Settlements that were written while a read was under way. That read may have begun before they were written and
    /// still return their rows, so they are forgotten only when it has ended.
    written: Vec<Settlement>,
    /// The last read fetched what waits behind others; the next one looks elsewhere, so that neither starves.
    fetched_last: bool,
    /// Not all held keys fit into memory: they are looked up with each claim, and read again now and then.
    look_up_holds: bool,
    holds_at: Instant,
    /// Batches in a row of which nobody knows anything.
    all_unknown: u32,
    /// The breaker is open because the broker does not answer, not because it is known to be away. It may be a single
    /// message that is never answered, so rows are claimed all the same, for the probes to have others to try.
    suspect: bool,
    stop_deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    epoch: Epoch,
    careful: bool,
}

/// Numbers per page of a sweep: a few milliseconds of reading.
const SWEEP_PAGE: usize = 5_000;
/// Rows per settle at most; more are settled by the next one.
const SETTLE_ROWS: usize = 5_000;
/// How often held keys are read again while they do not all fit into memory.
const HOLDS_INTERVAL: Duration = Duration::from_secs(5);
/// Keys per read of what waits behind others.
const FETCH_KEYS: usize = 256;
/// Messages that find out whether a broker is back. One, because a message that is never answered, or that costs the
/// connection, must not take others with it; the next probe sends another one.
const PROBE_MESSAGES: usize = 1;

impl Destination {
    pub(crate) fn new(
        shared: Shared,
        number: usize,
        name: String,
        transport: Arc<dyn Transport>,
        topics: TopicFilter,
        hints: Arc<Notify>,
        random: fastrand::Rng,
    ) -> Self {
        let now = Instant::now();
        let config = &shared.config;
        let capabilities = transport.capabilities();
        let policy = QueuePolicy {
            retry: config.retry.clone(),
            on_dead: config.on_dead.clone(),
            pipelined_order: capabilities.pipelined_order,
            window_per_key: config.window_per_key,
            window_rows: config.window_rows,
        };
        let reader = ReaderConfig {
            late_commits: shared.store.capabilities().late_commits,
            sweep_interval: config.sweep_interval,
            backstop_interval: config.backstop_interval,
            page: SWEEP_PAGE,
            requests_interval: config.poll.idle,
        };
        Self {
            queue: Queue::new(policy, random, Arc::clone(&shared.counters)),
            reader: Reader::new(reader, now),
            poller: Poller::new(config.poll, now),
            breaker: Breaker::new(config.breaker_first, config.breaker_longest),
            number,
            name,
            transport,
            capabilities,
            topics,
            hints,
            gaining: BTreeMap::new(),
            left: BTreeSet::new(),
            tasks: JoinSet::new(),
            reading: false,
            settling: false,
            publishing: 0,
            read_not_before: now,
            settle_not_before: now,
            read_pauses: Pauses::new(),
            settle_pauses: Pauses::new(),
            written: Vec::new(),
            fetched_last: false,
            look_up_holds: false,
            holds_at: now,
            all_unknown: 0,
            suspect: false,
            stop_deadline: None,
            shared,
        }
    }

    /// Works until it is told to stop, and then until what is under way has ended.
    ///
    /// # Errors
    ///
    /// [`RelayError::ShutdownTimedOut`] if that takes too long, [`RelayError::Panicked`] after a defect.
    pub(crate) async fn run(mut self) -> Result<(), RelayError> {
        let mut stop = self.shared.stop.clone();
        let mut leases = self.shared.leases.clone();
        let hints = Arc::clone(&self.hints);
        loop {
            let now = Instant::now();
            if *stop.borrow_and_update() && self.stop_deadline.is_none() {
                self.stop_deadline = Some(now + self.shared.config.shutdown_timeout);
            }
            self.follow_leases(&leases.borrow_and_update().clone());
            self.start_work(now);
            if let Some(deadline) = self.stop_deadline {
                if self.tasks.is_empty() && self.queue.unsettled() == 0 {
                    return Ok(());
                }
                if now >= deadline {
                    return Err(RelayError::ShutdownTimedOut {
                        unsettled: self.queue.rows(),
                    });
                }
            }
            let wake_at = self.next_time(now);
            tokio::select! {
                // In this order, so that a simulation is repeatable. Nobody starves: leases and stop are looked at in
                // every round, and a hint says nothing that a busy destination does not know.
                biased;
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => self.take(event, Instant::now()),
                    Err(_panic) => return Err(RelayError::Panicked),
                },
                () = hints.notified() => self.poller.hinted(Instant::now()),
                () = tokio::time::sleep_until(wake_at) => {}
                // Both senders live as long as this relay; when they are gone it was aborted.
                changed = leases.changed() => if changed.is_err() { return Ok(()) },
                changed = stop.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    // Leases

    fn follow_leases(&mut self, view: &LeaseView) {
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
        self.left
            .retain(|(shard, epoch)| view.held.get(shard).is_some_and(|held| held.epoch == *epoch));
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
                    let _ = self.shared.lease_events.send(LeaseEvent::Left {
                        destination,
                        shard,
                        epoch,
                    });
                }
            } else if !owned && self.queue.has_left(*shard) {
                // Not before the last row of an earlier lease is out of memory: it would not be read again, and the
                // later ones of its key would overtake it.
                let careful = held.unclean_takeovers >= UNCLEAN_TAKEOVERS;
                self.gaining.insert(
                    *shard,
                    Lease {
                        epoch: held.epoch,
                        careful,
                    },
                );
            }
        }
    }

    /// Whether what is sent now surely ends before the leases run out.
    fn may_send(&self, now: Instant) -> bool {
        let trusted_until = self.shared.leases.borrow().trusted_until;
        trusted_until.is_some_and(|until| now + self.shared.config.publish_timeout < until)
    }

    // Work out

    fn start_work(&mut self, now: Instant) {
        self.queue.resume(now);
        if let Some(shards) = self.queue.end_care(self.reader.is_at_end(now)) {
            let owned = self.queue.owned();
            let shards = shards
                .iter()
                .filter_map(|shard| Some((shard, owned.epoch(shard)?)))
                .collect();
            let _ = self.shared.lease_events.send(LeaseEvent::Absolve { shards });
        }
        if self.stop_deadline.is_none() {
            self.start_publishing(now);
        }
        self.start_settling(now);
        if self.stop_deadline.is_none() {
            self.start_reading(now);
        }
    }

    fn start_publishing(&mut self, now: Instant) {
        while self.publishing < self.shared.config.concurrency && self.may_send(now) {
            let most = match self.breaker.permission(now) {
                Permission::Free => self.capabilities.max_batch,
                Permission::Probe if !self.queue.has_sendable() => {
                    self.breaker.probe_started();
                    self.publishing += 1;
                    self.tasks.spawn(work::check(
                        Arc::clone(&self.transport),
                        self.shared.config.publish_timeout,
                    ));
                    return;
                }
                Permission::Probe => PROBE_MESSAGES,
                Permission::Not { .. } | Permission::ProbeUnderWay => return,
            };
            let most = most.min(
                self.capabilities
                    .max_in_flight
                    .saturating_sub(self.queue.in_flight()),
            );
            if most == 0 || !self.queue.has_sendable() {
                return;
            }
            let batch = self.queue.next_batch(most);
            if batch.is_empty() {
                // What was listed could not be sent after all; look again, with what that has brought up.
                continue;
            }
            self.breaker.probe_started();
            self.publishing += 1;
            let timeout = self.shared.config.publish_timeout;
            self.tasks
                .spawn(work::publish(Arc::clone(&self.transport), batch, timeout));
        }
    }

    fn start_settling(&mut self, now: Instant) {
        if self.settling || self.settle_not_before > now {
            return;
        }
        let settlements = self.queue.take_settlements(SETTLE_ROWS);
        if settlements.is_empty() {
            return;
        }
        self.settling = true;
        self.shared.counters.settles.add(1);
        self.tasks.spawn(work::settle(
            Arc::clone(&self.shared.store),
            self.shared.relay,
            settlements,
        ));
    }

    fn start_reading(&mut self, now: Instant) {
        if self.reading || self.read_not_before > now {
            return;
        }
        let Some(job) = self.next_job(now) else { return };
        self.reading = true;
        self.reader.begins();
        self.fetched_last = matches!(job, Job::Held { .. });
        self.shared.counters.reads.add(1);
        self.tasks.spawn(work::read(ReadOrder {
            store: Arc::clone(&self.shared.store),
            scope: Scope {
                shards: self.queue.reading(),
                topics: self.topics.clone(),
            },
            job,
            limit: self.room_for_due().max(1),
            max_bytes: self
                .shared
                .config
                .window_bytes
                .saturating_sub(self.queue.bytes())
                .max(1),
            page: SWEEP_PAGE,
            max_held_keys: self.shared.config.max_held_keys,
            look_up_holds: self.look_up_holds,
        }));
    }

    fn next_job(&mut self, now: Instant) -> Option<Job> {
        // While the broker is away nothing is claimed, so that it fills no memory. Held keys of gained shards are read
        // all the same: they are few, and the shard is ready when the broker is back.
        if !self.gaining.is_empty() {
            let count = self.shared.leases.borrow().shard_count;
            return Some(Job::Holds {
                shards: ShardSet::of(count, self.gaining.keys().copied()),
            });
        }
        if !self.may_claim() {
            return None;
        }
        if self.look_up_holds && self.holds_at <= now {
            return Some(Job::Holds {
                shards: self.queue.reading(),
            });
        }
        let room = self.room();
        if room > 0 && self.queue.wants_fetch() && !self.fetched_last {
            let keys = self.queue.start_fetch(FETCH_KEYS, self.reader.read_upto());
            if !keys.is_empty() {
                return Some(Job::Held { keys });
            }
        }
        if let Some(look) = self.reader.next_look(now, room, self.room_for_due()) {
            return Some(Job::Look(look));
        }
        if room > 0 && self.poller.next_look() <= now {
            return Some(Job::Look(Look::Fresh {
                after: self.reader.cursor(),
            }));
        }
        if room > 0 && self.queue.wants_fetch() {
            let keys = self.queue.start_fetch(FETCH_KEYS, self.reader.read_upto());
            return (!keys.is_empty()).then_some(Job::Held { keys });
        }
        None
    }

    fn may_claim(&self) -> bool {
        (self.breaker.is_closed() || self.suspect) && !self.queue.reading().is_empty()
    }

    /// How many rows may be read now: a whole batch or nothing, so that a full window is not topped up row by row.
    fn room(&self) -> usize {
        let config = &self.shared.config;
        let (rows, bytes) = (self.queue.rows(), self.queue.bytes());
        if rows == 0 {
            return config.batch_size.min(config.window_rows);
        }
        let fits = rows + config.batch_size <= config.window_rows && bytes < config.window_bytes / 4 * 3;
        if fits { config.batch_size } else { 0 }
    }

    /// The same for due rows. One of them may be what a full window waits for.
    fn room_for_due(&self) -> usize {
        let room = self.room();
        if room == 0 && self.queue.awaits_deferred_row() {
            self.shared.config.batch_size
        } else {
            room
        }
    }

    fn next_time(&self, now: Instant) -> Instant {
        let mut times = vec![now + Duration::from_secs(3600)];
        times.extend(self.queue.next_resume());
        times.extend(self.stop_deadline);
        if self.stop_deadline.is_none() && !self.reading {
            if !self.gaining.is_empty() {
                times.push(self.read_not_before);
            }
            if self.may_claim() {
                if self.look_up_holds {
                    times.push(self.holds_at.max(self.read_not_before));
                }
                times.push(
                    self.reader
                        .next_time(self.room_for_due())
                        .max(self.read_not_before),
                );
                if self.room() > 0 {
                    times.push(self.poller.next_look().max(self.read_not_before));
                }
            }
        }
        if self.queue.unsettled() > 0 && !self.settling {
            times.push(self.settle_not_before);
        }
        if let Permission::Not { until } = self.breaker.permission(now) {
            times.push(until);
        }
        times.into_iter().min().unwrap_or(now).max(now)
    }

    // Results in

    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Published { batch, results } => self.published(batch, results, now),
            Event::Checked { result } => self.checked(result, now),
            Event::Settled { settlements, settled } => self.settled(settlements, settled, now),
            Event::Read { job, found } => {
                self.reading = false;
                match found {
                    Ok(found) => {
                        self.shared.health.succeeded();
                        self.read_pauses.reset();
                        self.found(job, found, now);
                    }
                    Err(error) => {
                        self.shared.health.failed(&error);
                        self.read_not_before = now + self.read_pauses.next();
                        match job {
                            Job::Look(look) => self.reader.failed(look),
                            Job::Held { keys } => self.queue.fetch_failed(&keys),
                            Job::Holds { .. } => {}
                        }
                    }
                }
                let written = std::mem::take(&mut self.written);
                self.forget(written, now);
            }
        }
    }

    fn published(&mut self, batch: Batch, results: Results, now: Instant) {
        self.publishing -= 1;
        let verdict = self.queue.complete(batch, results, now);
        if verdict.unavailable > 0 {
            self.unavailable(verdict.example.as_deref().unwrap_or_default(), now);
        } else if verdict.answered > 0 {
            self.available();
        } else if verdict.unknown > 0 {
            // One batch may be bad luck; two in a row are a broker that does not answer.
            self.all_unknown += 1;
            if self.all_unknown > 1 && self.breaker.is_closed() {
                self.suspect = true;
                self.open_breaker(verdict.example.as_deref().unwrap_or_default(), now);
            }
            self.breaker.probe_inconclusive(now);
        }
    }

    fn checked(&mut self, result: Result<(), PublishError>, now: Instant) {
        self.publishing -= 1;
        match result {
            Ok(()) => self.available(),
            Err(error) => self.unavailable(&error.to_string(), now),
        }
    }

    fn available(&mut self) {
        self.all_unknown = 0;
        self.suspect = false;
        if self.breaker.succeeded() == Change::Closed {
            tracing::info!(destination = self.name, "the broker takes messages again");
        }
    }

    fn unavailable(&mut self, error: &str, now: Instant) {
        self.suspect = false;
        self.open_breaker(error, now);
    }

    fn open_breaker(&mut self, error: &str, now: Instant) {
        if self.breaker.unavailable(now) == Change::Opened {
            self.shared.counters.breaker_opened.add(1);
            tracing::error!(
                destination = self.name,
                error,
                "the broker is not available; its messages wait"
            );
        }
    }

    fn settled(
        &mut self,
        settlements: Vec<Settlement>,
        settled: Result<outbox_core::Settled, StoreError>,
        now: Instant,
    ) {
        self.settling = false;
        match settled {
            Ok(settled) if settled.stale => {
                self.shared.health.succeeded();
                self.shared.counters.stale_settles.add(1);
                tracing::warn!(
                    rows = settlements.len(),
                    "a settle was refused: another relay has taken over; it will publish these messages again"
                );
                self.queue.settle_stale(settlements);
                self.settle_not_before = now + Duration::from_millis(100);
                let _ = self.shared.lease_events.send(LeaseEvent::Stale);
            }
            Ok(_) => {
                self.shared.health.succeeded();
                self.settle_pauses.reset();
                if self.reading {
                    self.written.extend(settlements);
                } else {
                    self.forget(settlements, now);
                }
            }
            Err(error) => {
                self.shared.health.failed(&error);
                self.settle_not_before = now + self.settle_pauses.next();
                self.queue.settle_failed(settlements);
            }
        }
    }

    fn forget(&mut self, settlements: Vec<Settlement>, now: Instant) {
        if settlements.is_empty() {
            return;
        }
        if let Some(due_in) = self.queue.settled(settlements).due_in {
            self.reader.falls_due(now + due_in);
        }
    }

    fn found(&mut self, job: Job, found: Found, now: Instant) {
        match (job, found) {
            (Job::Look(look), Found::Rows { claim, holds }) => {
                self.queue.take_holds(holds);
                let last = claim.rows.last().map(|row| (row.seq, row.due_position));
                let rows = claim.rows.len();
                let admitted = claim
                    .rows
                    .into_iter()
                    .map(|row| self.queue.admit(row))
                    .filter(|new| *new)
                    .count();
                match look {
                    Look::Fresh { .. } => {
                        self.reader.fresh_read(last.map(|(seq, _)| seq), claim.more);
                        if rows > 0 {
                            self.poller.found_rows(now)
                        } else {
                            self.poller.found_nothing(now)
                        }
                    }
                    Look::Due { .. } => {
                        self.reader
                            .due_read(last.and_then(|(_, due)| due), admitted, claim.more, now);
                    }
                    _ => self.shared.counters.late_commits.add(admitted),
                }
            }
            (Job::Held { keys }, Found::Rows { claim, .. }) => {
                self.queue
                    .fetched(&keys, claim.rows, claim.more, self.reader.read_upto())
            }
            (Job::Holds { shards }, Found::Holds(holds)) => self.gain(shards, holds, now),
            (Job::Look(Look::Sweep { .. }), Found::Seqs(seqs)) => {
                self.reader.swept(&seqs, &self.queue, now);
            }
            (Job::Look(Look::Backstop { .. }), Found::Seqs(seqs)) => {
                self.reader.backstop_read(&seqs, &self.queue, now);
            }
            (_, Found::Mark(mark)) => self.reader.marked(mark, now),
            (_, Found::Over(over)) => self.reader.mark_is_over(over, now),
            (_, Found::NextDue(next)) => self.reader.next_due_read(next, now),
            (_, Found::Requests(requests)) => {
                requests.iter().for_each(|request| self.queue.carry_out(request));
                self.reader
                    .requests_read(requests.len() >= REQUESTS_PER_READ, now);
            }
            (job, found) => tracing::error!(?job, ?found, "a read found something else than it looked for"),
        }
    }

    /// Takes shards in, now that their held keys are known. Their rows may be anywhere below the cursor.
    fn gain(&mut self, shards: ShardSet, holds: Vec<outbox_core::KeyHold>, now: Instant) {
        let overflow = holds.len() >= self.shared.config.max_held_keys;
        let all = self.queue.reading().iter().all(|shard| shards.contains(shard));
        self.look_up_holds = overflow || (self.look_up_holds && !all);
        self.holds_at = now + HOLDS_INTERVAL;
        self.queue.take_holds(holds);
        if self.gaining.is_empty() {
            return;
        }
        for shard in shards.iter() {
            // Those that were lost while this was read are not in the list any more.
            if let Some(lease) = self.gaining.remove(&shard) {
                self.queue.gain(shards.count(), shard, lease.epoch, lease.careful);
            }
        }
        self.reader.rewind(now);
        self.poller.look_now(now);
    }
}

/// Growing pauses between attempts to reach the database: 100 ms to 5 s, with jitter, so that a fleet does not come
/// back in step.
#[derive(Debug)]
struct Pauses(backon::ExponentialBackoff);

impl Pauses {
    fn new() -> Self {
        let builder = backon::ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times();
        Self(builder.build())
    }

    fn next(&mut self) -> Duration {
        self.0.next().unwrap_or(Duration::from_secs(5))
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}
