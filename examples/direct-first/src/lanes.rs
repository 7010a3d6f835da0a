use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use outbox::OutboxMessage;
use outbox::relay::{PublishPath, Publisher};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::ParcelScanned;

/// Gates and hands. Each waits for its call before the next, so each has an order.
const LANES: u64 = 25;
/// The last of them are hands.
const HANDS: u64 = 5;

/// One call of the publisher.
#[derive(Debug, Clone)]
pub struct Call {
    /// The message.
    pub id: String,
    /// When it was made.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// The way that the message took; `None` for an error.
    pub path: Option<PublishPath>,
}

/// The load: scans at an even rate, however long the calls take. A lane that was kept waiting makes up for it.
#[derive(Debug)]
pub struct Lanes {
    shared: Arc<Shared>,
    running: JoinSet<Result<Vec<Call>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// How many calls in a row were published at once, of each lane.
    in_a_row: Vec<AtomicU64>,
    error: Mutex<Option<String>>,
}

impl Lanes {
    /// So many scans a second.
    #[must_use]
    pub fn start(publisher: &Publisher, rate: u32) -> Self {
        let in_a_row = (0..LANES).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { in_a_row, ..Shared::default() });
        let period = Duration::from_secs(1) * u32::try_from(LANES).unwrap_or(u32::MAX) / rate;
        let mut running = JoinSet::new();
        for lane in 0..LANES {
            running.spawn(run(publisher.clone(), lane, period, Arc::clone(&shared)));
        }
        Self { shared, running }
    }

    /// Waits until the last `calls` calls of each lane were published at once.
    pub async fn are_direct(&self, calls: u64) {
        self.shared.in_a_row.iter().for_each(|lane| lane.store(0, Ordering::Relaxed));
        while self.shared.in_a_row.iter().any(|lane| lane.load(Ordering::Relaxed) < calls) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for the calls under way. All calls, in the order of their time, and the first error, if there was one.
    ///
    /// # Errors
    ///
    /// If a scan can't be written as a message.
    pub async fn stop(mut self) -> Result<(Vec<Call>, Option<String>)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut calls = Vec::new();
        while let Some(lane) = self.running.join_next().await {
            calls.extend(lane??);
        }
        calls.sort_by_key(|call| call.at);
        let error = self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok((calls, error))
    }
}

async fn run(publisher: Publisher, lane: u64, period: Duration, shared: Arc<Shared>) -> Result<Vec<Call>> {
    let gate = (lane < LANES - HANDS).then(|| format!("gate-{lane}"));
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = Vec::new();
    for number in 0.. {
        ticks.tick().await;
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let message = OutboxMessage::event(&ParcelScanned { gate: gate.clone(), number })?;
        let at = Instant::now();
        let published = publisher.publish(&message).await;
        if let Err(error) = &published {
            shared
                .error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| error.to_string());
        }
        let path = published.ok();
        let in_a_row = &shared.in_a_row[usize::try_from(lane)?];
        match path {
            Some(PublishPath::Direct) => drop(in_a_row.fetch_add(1, Ordering::Relaxed)),
            _ => in_a_row.store(0, Ordering::Relaxed),
        }
        calls.push(Call { id: message.id().to_string(), at, took: at.elapsed(), path });
    }
    Ok(calls)
}
