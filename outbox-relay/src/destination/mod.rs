//! One destination: its transport, the topics that go there, and everything between the table and the broker.
//!
//! The parts that decide ([`Queue`], [`Reader`], [`Breaker`], [`Poller`]) are state machines without I/O. The loop in
//! here asks them what to do, has it done by tasks, and tells them what came of it. At any time one read, one settle
//! and several publishes are under way, so the next claim is read while the last is being published and the one before
//! is being settled.

mod batch_limit;
mod careful;
mod entry;
mod finish;
mod handover;
mod key;
mod late;
mod low_mark;
mod owned;
mod pauses;
mod queue;
mod reader;
mod start;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Epoch, OutboxStore, RelayId, ShardId, TopicFilter, Transport, TransportCapabilities};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::batch_limit::BatchLimit;
use self::entry::Settlement;
use self::pauses::Pauses;
use self::queue::{Queue, QueuePolicy};
use self::reader::{Reader, ReaderConfig};
use self::work::Event;
use crate::bell::Bell;
use crate::breaker::Breaker;
use crate::config::RelayConfig;
use crate::error::RelayError;
use crate::health::{DestinationHealth, StoreHealth};
use crate::leases::{LeaseEvent, LeaseView};
use crate::metrics::{self, Figures, SharedFigures};
use crate::poller::Poller;
use crate::stats::Counters;
use crate::waker::Hints;

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
    pub(crate) figures: SharedFigures,
    pub(crate) hints: Arc<Hints>,
}

pub(crate) struct Destination {
    shared: Shared,
    number: usize,
    health: Arc<DestinationHealth>,
    figures: Figures,
    transport: Arc<dyn Transport>,
    capabilities: TransportCapabilities,
    topics: TopicFilter,
    bell: Arc<Bell>,
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
    /// The last settle had what operators have asked for, so the next one has something else.
    settled_requests: bool,
    requests_not_before: Instant,
    request_pauses: Pauses,
    /// Less than all, where all of them were too much.
    requests_per_settle: usize,
    read_pauses: Pauses,
    settle_pauses: Pauses,
    /// Settlements that were written while a read was under way. That read may have begun before they were written and
    /// still return their rows, so they are forgotten only when it has ended.
    written: Vec<Settlement>,
    /// The last read fetched what waits behind others; the next one looks elsewhere, so that neither starves.
    fetched_last: bool,
    fetch_not_before: Instant,
    /// Not all held keys fit into memory: they are looked up with each claim, and read again now and then.
    look_up_holds: bool,
    holds_at: Instant,
    /// The held keys of shards that are gained are not read before this time, because that has failed.
    gain_not_before: Instant,
    /// Until when a hot key is given time to make room, instead of reading more of it than fits.
    waits_for_key: Option<Instant>,
    batch_limit: BatchLimit,
    /// Batches in a row of which nobody knows anything.
    all_unknown: u32,
    /// The breaker is open because the broker does not answer, not because it is known to be away. It may be a single
    /// message that is never answered, so rows are claimed all the same, for the probes to have others to try.
    suspect: bool,
    stop_deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
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
/// Before a fetch that brought nothing is made again, unless something is settled before.
const FETCH_PAUSE: Duration = Duration::from_millis(100);
/// Before something that looks aside is read again, if that has failed. What is read forward does not wait for it.
const LOOK_FAILED_PAUSE: Duration = Duration::from_secs(1);
/// Before what an operator has asked for is tried again, at most: it may hold the locks of a shard for long each time.
const REQUESTS_PAUSE: Duration = Duration::from_secs(60);
/// Messages that find out whether a broker is back. One, because a message that is never answered, or that costs the
/// connection, must not take others with it; the next probe sends another one.
const PROBE_MESSAGES: usize = 1;

impl Destination {
    pub(crate) fn new(
        shared: Shared,
        number: usize,
        health: Arc<DestinationHealth>,
        transport: Arc<dyn Transport>,
        topics: TopicFilter,
        bell: Arc<Bell>,
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
            figures: Figures::new(&health.name, capabilities.name, shared.figures.clone()),
            health,
            transport,
            capabilities,
            topics,
            bell,
            gaining: BTreeMap::new(),
            left: BTreeSet::new(),
            tasks: JoinSet::new(),
            reading: false,
            settling: false,
            publishing: 0,
            read_not_before: now,
            settle_not_before: now,
            settled_requests: false,
            requests_not_before: now,
            request_pauses: Pauses::up_to(REQUESTS_PAUSE),
            requests_per_settle: work::REQUESTS_PER_READ,
            read_pauses: Pauses::new(),
            settle_pauses: Pauses::new(),
            written: Vec::new(),
            fetched_last: false,
            fetch_not_before: now,
            look_up_holds: false,
            holds_at: now,
            gain_not_before: now,
            waits_for_key: None,
            batch_limit: BatchLimit::none(),
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
        let mut view = leases.borrow_and_update().clone();
        let bell = Arc::clone(&self.bell);
        loop {
            let now = Instant::now();
            if *stop.borrow_and_update() && self.stop_deadline.is_none() {
                self.stop_deadline = Some(now + self.shared.config.shutdown_timeout);
            }
            #[cfg(outbox_sabotage)]
            if self.stop_deadline.is_some() && outbox_core::sabotage::is("stop-without-finishing") {
                return Ok(());
            }
            self.follow_leases(&view);
            self.start_work(now);
            self.tell();
            if let Some(deadline) = self.stop_deadline {
                if self.tasks.is_empty() && self.queue.unsettled() == 0 {
                    return Ok(());
                }
                if now >= deadline {
                    return Err(RelayError::ShutdownTimedOut { unsettled: self.queue.rows() });
                }
            }
            let wake_at = self.next_time(now);
            tokio::select! {
                // In this order, so that a simulation is repeatable, and rare things first, so that they don't starve.
                biased;
                // Both senders live as long as this relay; when they are gone it was aborted.
                changed = leases.changed() => match changed {
                    Ok(()) => {
                        view = leases.borrow_and_update().clone();
                        self.figures.repeat(self.poller.interval());
                    }
                    Err(_) => return Ok(()),
                },
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => self.take(event, Instant::now()),
                    Err(_panic) => return Err(RelayError::Panicked),
                },
                hint = bell.heard() => {
                    self.poller.hinted(hint, Instant::now());
                    // All destinations are woken by the same hints.
                    if self.number == 0 {
                        self.shared.hints.take(metrics::wakeups);
                    }
                }
                () = tokio::time::sleep_until(wake_at) => {}
                changed = stop.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    /// Tells what has changed since the last turn of the loop. Pace and breaker change once per turn at most, so that no
    /// change is missed.
    fn tell(&mut self) {
        let breaker = self.breaker.state();
        if self.figures.changed(self.poller.pace(), self.poller.interval(), breaker) {
            self.health.breaker(breaker);
        }
    }
}
