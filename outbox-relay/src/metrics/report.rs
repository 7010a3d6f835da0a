//! The only place where the recorder is asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ::metrics::{SharedString, counter, gauge, histogram};
use outbox_core::DeadReason;

use super::calls::Calls;
use super::clock::DatabaseClock;
use super::labels::Path;
use super::names::{self, Kind};
use super::tally::{BatchTally, SettleTally};
use super::topics::TopicLabels;
use crate::breaker::BreakerState;
use crate::poller::Pace;

/// Tells the recorder unit and help of every metric. A relay does it when it starts; an exporter that is installed later
/// asks for it itself.
pub fn describe() {
    for metric in names::all() {
        let (name, unit, help) = (metric.name, metric.unit, metric.help);
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(name, unit, help),
            Kind::Gauge => ::metrics::describe_gauge!(name, unit, help),
            Kind::Histogram { .. } => ::metrics::describe_histogram!(name, unit, help),
        }
    }
}

/// Counts messages of one topic that took a path; for whoever publishes without the relay. Call it once per batch.
pub fn published(path: Path, transport: &'static str, topic: SharedString, messages: u64) {
    counter!(names::PUBLISHED_TOTAL, "path" => path.as_str(), "transport" => transport, "topic" => topic)
        .increment(messages);
}

/// What a relay reports of one destination.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    calls: Calls,
    shared: SharedFigures,
    pace: Option<Pace>,
    breaker: Option<BreakerState>,
}

/// What the destinations of a relay have in common: the number of topics, and the database with its clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedFigures {
    topics: TopicLabels,
    clock: Arc<Mutex<DatabaseClock>>,
}

impl Figures {
    pub(crate) fn new(destination: &str, transport: &'static str, shared: SharedFigures) -> Self {
        let destination = SharedString::from_shared(Arc::from(destination));
        Self { calls: Calls::new(Path::Relayed, destination, transport), shared, pace: None, breaker: None }
    }

    /// A batch that was published: what came of it, when that was known, and how long it took.
    pub(crate) fn published(&self, tally: &BatchTally, confirmed_at: SystemTime, took: Duration) {
        let transport = self.calls.transport();
        for (topic, messages) in tally.topics() {
            published(Path::Relayed, transport, self.shared.topics.of(topic), messages);
        }
        self.calls.ended(tally.errors(), took);
        if tally.observed().is_empty() {
            return;
        }
        let ages = histogram!(names::COMMIT_TO_ACK_SECONDS, "transport" => transport);
        let mut clock = self.shared.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let before = clock.ahead();
        for made in tally.observed() {
            if let Some(age) = clock.age(*made, confirmed_at) {
                ages.record(age);
            }
        }
        if clock.ahead() != before {
            gauge!(names::DATABASE_CLOCK_AHEAD_SECONDS).set(clock.ahead());
        }
    }

    /// A settle that was written.
    pub(crate) fn settled(&self, tally: &SettleTally) {
        if tally.retries > 0 {
            counter!(names::RETRIES_TOTAL).increment(tally.retries);
        }
        for (reason, messages) in &tally.dead {
            counter!(names::DEAD_TOTAL, "reason" => reason.as_str()).increment(*messages);
        }
    }

    /// A settle that the fence refused.
    pub(crate) fn stale(&self) {
        counter!(names::STALE_SETTLES_TOTAL).increment(1);
    }

    /// What changes rarely, if it has changed. Says whether the breaker has.
    pub(crate) fn changed(&mut self, pace: Pace, interval: Duration, breaker: BreakerState) -> bool {
        let before = self.pace.replace(pace);
        if before != Some(pace) {
            self.interval(interval);
        }
        if let Some(before) = before
            && before != pace
        {
            counter!(names::POLL_TRANSITIONS_TOTAL, "from" => before.as_str(), "to" => pace.as_str())
                .increment(1);
        }
        let changed = self.breaker.replace(breaker) != Some(breaker);
        if changed {
            self.calls.breaker(breaker);
        }
        changed
    }

    fn interval(&self, interval: Duration) {
        gauge!(names::POLL_INTERVAL_SECONDS, "destination" => self.calls.destination().clone()).set(interval);
    }

    /// Sets the gauges again, for an exporter that was installed after the last change, and shows counters that have not
    /// counted yet as 0: the first event of a series that was not there is no increase.
    pub(crate) fn repeat(&self, interval: Duration) {
        self.settled(&SettleTally { retries: 0, dead: DeadReason::ALL.map(|reason| (reason, 0)).to_vec() });
        counter!(names::RETRIES_TOTAL).increment(0);
        counter!(names::STALE_SETTLES_TOTAL).increment(0);
        self.calls.repeat();
        self.interval(interval);
        if let Some(breaker) = self.breaker {
            self.calls.breaker(breaker);
        }
        let ahead = self.shared.clock.lock().unwrap_or_else(PoisonError::into_inner).ahead();
        gauge!(names::DATABASE_CLOCK_AHEAD_SECONDS).set(ahead);
    }
}

/// Hints that came since the last call.
pub(crate) fn wakeups(source: &'static str, hints: u64) {
    counter!(names::WAKEUPS_TOTAL, "source" => source).increment(hints);
}

/// Shards that are owned now, and shards that were lost since the last call.
pub(crate) fn leases(owned: usize, lost: usize) {
    // Shards are 64 at most.
    gauge!(names::SHARDS_OWNED).set(u8::try_from(owned).unwrap_or(u8::MAX));
    counter!(names::LEASE_LOST_TOTAL).increment(u64::try_from(lost).unwrap_or(u64::MAX));
}

/// Whether the database answers.
pub(crate) fn store_up(up: bool) {
    gauge!(names::STORE_UP).set(u8::from(up));
}
