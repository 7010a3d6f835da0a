use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// Nothing takes longer, unless it stands still.
const PATIENCE: Duration = Duration::from_secs(300);

/// When a message was published: its number, and the time.
pub(crate) type Arrival = (u32, Instant);

/// What stands for the broker: it takes all that it gets, at once or after a pause.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    pause: Duration,
    arrivals: Option<mpsc::UnboundedSender<Arrival>>,
    tally: Arc<Tally>,
}

#[derive(Debug)]
struct Tally {
    expected: u64,
    taken: AtomicU64,
    complete: Notify,
}

impl Broker {
    /// One that expects so many messages, and needs so long for each call.
    pub(crate) fn new(expected: u32, pause: Duration) -> Self {
        let tally = Tally { expected: expected.into(), taken: AtomicU64::new(0), complete: Notify::new() };
        Self { pause, arrivals: None, tally: Arc::new(tally) }
    }

    /// One that says when it was called for which message.
    pub(crate) fn stamping(expected: u32) -> (Self, mpsc::UnboundedReceiver<Arrival>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { arrivals: Some(sender), ..Self::new(expected, Duration::ZERO) }, receiver)
    }

    pub(crate) const fn pause(&self) -> Duration {
        self.pause
    }

    /// One call of a client, with one message or with many.
    pub(crate) async fn publish<T>(&self, batch: &[T], number: impl Fn(&T) -> u32) {
        if let Some(arrivals) = &self.arrivals {
            let at = Instant::now();
            for message in batch {
                // After the end of a run nobody looks any more.
                let _ = arrivals.send((number(message), at));
            }
        }
        black_box(batch);
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        let Tally { expected, taken, complete } = &*self.tally;
        let more = batch.len() as u64;
        // Once, and not for every message: to be woken up is work too.
        if taken.fetch_add(more, Ordering::Relaxed) + more >= *expected {
            complete.notify_one();
        }
    }

    /// Waits until it has taken as many as it expects.
    pub(crate) async fn complete(&self) -> Result<()> {
        let Tally { expected, taken, complete } = &*self.tally;
        let waited = timeout(PATIENCE, complete.notified()).await;
        waited
            .with_context(|| format!("{} of {expected} messages, and no more", taken.load(Ordering::Relaxed)))
    }
}
