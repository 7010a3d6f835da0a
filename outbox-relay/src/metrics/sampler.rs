use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::metrics::gauge;
use futures_util::FutureExt;
use outbox_core::{OutboxAdmin, OutboxStats, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::names;

/// Reads the state of the tables at intervals, and reports it as gauges.
///
/// It is a task of its own: no request, whose end would end it, and no relay carries it. While the database is away the
/// gauges keep their last value, and [`names::STATS_AGE_SECONDS`] grows. Counting stops at a limit, so that a large
/// backlog costs no full scan.
#[derive(Clone)]
#[must_use = "it runs after `start`"]
pub struct StatsSampler {
    admin: Arc<dyn OutboxAdmin>,
    interval: Duration,
    count_limit: u64,
    timeout: Duration,
}

/// What was read last.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Sample {
    /// The state of the tables; `None` before the first answer.
    pub stats: Option<OutboxStats>,
    /// When it was read, by this process's monotonic clock.
    pub read: Option<Instant>,
    /// Why the last try failed; `None` if it did not.
    pub failure: Option<SampleFailure>,
}

/// A try that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampleFailure {
    /// What the database said. Without credentials.
    pub text: String,
    /// The first failure in a row, by this machine's clock.
    pub since: SystemTime,
}

/// A running [`StatsSampler`]. Dropping it ends the task; the gauges keep their values.
#[derive(Debug)]
#[must_use = "dropping it ends the sampling"]
pub struct RunningSampler {
    task: JoinHandle<()>,
    sample: watch::Receiver<Sample>,
}

impl StatsSampler {
    /// Rows counted at most by default.
    pub const COUNT_LIMIT: u64 = 10_000;
    /// The interval by default.
    pub const INTERVAL: Duration = Duration::from_secs(15);

    /// A sampler of these tables.
    pub fn new(admin: Arc<dyn OutboxAdmin>) -> Self {
        let timeout = Duration::from_secs(5);
        Self { admin, interval: Self::INTERVAL, count_limit: Self::COUNT_LIMIT, timeout }
    }

    /// The time between two reads. Default 15 s; at least 100 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(100));
        self
    }

    /// Rows counted at most. Default 10,000.
    pub fn count_limit(mut self, rows: u64) -> Self {
        self.count_limit = rows;
        self
    }

    /// After what time a read counts as failed. Default 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Starts the task; the first read begins at once.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(self) -> RunningSampler {
        let (sender, sample) = watch::channel(Sample::default());
        RunningSampler { task: tokio::spawn(self.run(sender)), sample }
    }

    async fn run(self, sample: watch::Sender<Sample>) {
        let started = Instant::now();
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            // A panic that ended the task would leave gauges that nobody can tell from true ones.
            let reading = AssertUnwindSafe(self.admin.stats(self.count_limit)).catch_unwind();
            let failed = match tokio::time::timeout(self.timeout, reading).await {
                Ok(Ok(Ok(stats))) => {
                    report(&stats);
                    let stats = Some(stats);
                    sample.send_replace(Sample { stats, read: Some(asked), failure: None });
                    None
                }
                Ok(Ok(Err(error))) => Some(describe(&error)),
                Ok(Err(_panic)) => Some("the store panicked".to_owned()),
                Err(_elapsed) => Some(format!("no answer within {:?}", self.timeout)),
            };
            if let Some(text) = failed {
                sample.send_modify(|sample| {
                    // One line per outage.
                    if sample.failure.is_none() {
                        tracing::warn!(
                            error = text,
                            "the state of the outbox can't be read; its gauges stand still"
                        );
                    }
                    let since = sample.failure.as_ref().map_or_else(SystemTime::now, |failure| failure.since);
                    sample.failure = Some(SampleFailure { text, since });
                });
            }
            let read = sample.borrow().read.unwrap_or(started);
            gauge!(names::STATS_AGE_SECONDS).set(read.elapsed());
        }
    }
}

impl RunningSampler {
    /// What was read last.
    #[must_use]
    pub fn latest(&self) -> Sample {
        self.sample.borrow().clone()
    }

    /// Follows what is read.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Sample> {
        self.sample.clone()
    }
}

impl Drop for RunningSampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for StatsSampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatsSampler")
            .field("interval", &self.interval)
            .field("count_limit", &self.count_limit)
            .finish_non_exhaustive()
    }
}

fn report(stats: &OutboxStats) {
    let seconds = |time: Option<Duration>| time.unwrap_or_default();
    gauge!(names::PENDING).set(number(stats.pending));
    gauge!(names::OLDEST_AGE_SECONDS).set(seconds(stats.oldest_pending));
    for (state, rows) in [("delayed", stats.delayed), ("retrying", stats.retrying), ("held", stats.held)] {
        gauge!(names::DEFERRED, "state" => state).set(number(rows));
    }
    gauge!(names::BLOCKED_KEYS).set(number(stats.blocked_keys));
    gauge!(names::LONGEST_BLOCKED_SECONDS).set(seconds(stats.longest_blocked));
    gauge!(names::DEAD_LETTERS).set(number(stats.dead));
    gauge!(names::COUNT_LIMIT).set(number(stats.count_limit));
}

/// A count as a gauge's value; none is near 2^53.
#[allow(clippy::cast_precision_loss, reason = "counts stop at a limit far below")]
fn number(count: u64) -> f64 {
    count as f64
}

fn describe(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
