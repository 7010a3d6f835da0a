use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outbox_sqlx::PostgresNotifier;
use sqlx::PgPool;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::cpu::Threads;
use super::producers::{AfterCommit, Producers, names};
use super::relay::{Embedded, Order, Process, broker};
use super::samples::{Figures, percentiles};
use super::stamped::Arrival;
use crate::database::Database;
use crate::database::postgres::PostgresDatabase;

/// How the relay learns of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learns {
    /// In the process of the writers, which wake it after each commit.
    Waker,
    /// In the process of the writers, whose own transactions leave a hint when a message is written.
    Hint,
    /// In another process, by `LISTEN`.
    Notification,
    /// In another process, and from nobody.
    Polling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    /// Commits per second.
    Steady(u32),
    /// Half of what the same writers commit at full speed while the same relay works.
    HalfOfTheCeiling,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) broker: &'static str,
    pub(super) learns: Learns,
    pub(super) rate: Rate,
}

/// Nothing here takes longer, unless it stands still.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before anything counts: connections, plans and caches.
const WARM_UP: Duration = Duration::from_secs(1);

impl Scenario {
    pub(super) fn has_raw_twin(&self) -> bool {
        self.broker == "none" && self.learns == Learns::Waker && matches!(self.rate, Rate::Steady(_))
    }

    pub(super) async fn measure(&self, length: Duration) -> Result<Figures> {
        match self.rate {
            Rate::Steady(rate) => self.run(rate, length).await,
            Rate::HalfOfTheCeiling => self.run(self.ceiling(length / 4).await? / 2, length).await,
        }
    }

    async fn run(&self, rate: u32, length: Duration) -> Result<Figures> {
        let mut running = self.start().await?;
        let producers = running.producers(self.learns).await?;
        let Running { threads, relay, .. } = &mut running;
        let measured = figures(producers, rate, length, threads, async |count| relay.arrived(count).await);
        let measured = measured.await;
        running.stop().await?;
        measured
    }

    /// Commits per second that the writers make and the relay keeps up with.
    async fn ceiling(&self, time: Duration) -> Result<u32> {
        let mut running = self.start().await?;
        let producers = running.producers(self.learns).await?;
        let started = Instant::now();
        let commits = producers.at_full_speed(time).await?.len();
        running.relay.arrived(commits).await?;
        let per_second = f64::from(u32::try_from(commits)?) / started.elapsed().as_secs_f64();
        running.stop().await?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of commits")]
        Ok((per_second as u32).max(2))
    }

    async fn start(&self) -> Result<Running> {
        let database = PostgresDatabase::fresh().await?;
        let topic = match broker(self.broker) {
            Some(broker) => broker.topic().await?,
            None => "bench".to_owned(),
        };
        let listen = self.learns == Learns::Notification;
        let url = database.url().to_owned();
        let order = Order { url, broker: self.broker.to_owned(), topic: topic.clone(), listen };
        let (threads, relay) = match self.learns {
            Learns::Waker | Learns::Hint => {
                let threads = Threads::begun_from_now_on()?;
                (threads, Relaying::Embedded(Embedded::start(order).await?))
            }
            Learns::Notification | Learns::Polling => {
                let process = Process::start(&order)?;
                (Threads::of(process.id()), Relaying::Process(process))
            }
        };
        Ok(Running { database, topic, threads, relay, broker: self.broker })
    }
}

/// A relay at work on tables of its own.
struct Running {
    database: PostgresDatabase,
    broker: &'static str,
    topic: String,
    threads: Threads,
    relay: Relaying,
}

enum Relaying {
    Embedded(Embedded),
    Process(Process),
}

impl Running {
    async fn producers(&self, learns: Learns) -> Result<Producers> {
        let mut hinting = None;
        let after_commit: AfterCommit = match (&self.relay, learns) {
            (Relaying::Embedded(relay), Learns::Hint) => {
                hinting = Some(relay.waker());
                Arc::new(|| ())
            }
            (Relaying::Embedded(relay), _) => {
                let waker = relay.waker();
                Arc::new(move || waker.wake())
            }
            (Relaying::Process(_), Learns::Notification) => {
                let pool = PgPool::connect(self.database.url()).await?;
                let notifier = PostgresNotifier::new(&pool, &names()?);
                Arc::new(move || notifier.notify())
            }
            (Relaying::Process(_), _) => Arc::new(|| ()),
        };
        let prepare = |writer: outbox_sqlx::PostgresWriter| match hinting {
            Some(waker) => writer.with_hint(waker),
            None => writer,
        };
        Producers::connect(self.database.url(), self.topic.clone(), prepare, after_commit).await
    }

    async fn stop(self) -> Result<()> {
        match self.relay {
            Relaying::Embedded(relay) => relay.stop().await?,
            Relaying::Process(process) => process.stop()?,
        }
        if let Some(broker) = broker(self.broker) {
            broker.remove(&self.topic).await?;
        }
        self.database.remove().await
    }
}

impl Relaying {
    async fn arrived(&mut self, count: usize) -> Result<Vec<Arrival>> {
        match self {
            Self::Embedded(relay) => arrived(&mut relay.arrivals, count).await,
            Self::Process(process) => arrived(&mut process.arrivals, count).await,
        }
    }
}

/// Waits until so many messages have arrived.
pub(super) async fn arrived(
    arrivals: &mut UnboundedReceiver<Vec<Arrival>>,
    count: usize,
) -> Result<Vec<Arrival>> {
    let mut all = Vec::with_capacity(count);
    timeout(PATIENCE, async {
        while all.len() < count {
            all.extend(arrivals.recv().await.context("the relay has ended")?);
        }
        anyhow::Ok(())
    })
    .await
    .with_context(|| format!("{} of {count} messages were published", all.len()))??;
    Ok(all)
}

/// Commits for a while, and measures.
pub(super) async fn figures(
    producers: Producers,
    rate: u32,
    length: Duration,
    relay: &Threads,
    arrived: impl AsyncFnOnce(usize) -> Result<Vec<Arrival>>,
) -> Result<Figures> {
    ensure!(rate > 0, "nothing is committed");
    let messages = |time: Duration| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of messages")]
        let count = (time.as_secs_f64() * f64::from(rate)) as u32;
        count
    };
    let committing = tokio::spawn(producers.at_rate(rate, messages(WARM_UP + length)));
    tokio::time::sleep(WARM_UP).await;
    let (from, before) = (Instant::now(), relay.time()?);
    let commits = committing.await??;
    let cores = (relay.time()? - before).as_secs_f64() / from.elapsed().as_secs_f64();
    let arrivals = arrived(commits.len()).await?;
    let (from_commit, from_schedule) = percentiles(&commits, &arrivals, messages(WARM_UP))?;
    Ok(Figures { rate, from_commit, from_schedule, cores })
}

impl fmt::Display for Learns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waker => "same process, woken",
            Self::Hint => "same process, hint of the writer",
            Self::Notification => "other process, LISTEN",
            Self::Polling => "other process, polling",
        })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.broker, self.learns)?;
        match self.rate {
            Rate::Steady(rate) => write!(f, ", {rate}/s"),
            Rate::HalfOfTheCeiling => write!(f, ", half of the ceiling"),
        }
    }
}
