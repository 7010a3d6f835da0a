//! How soon a committed message is published, at a rate that leaves everybody most of the time: what counts here is how
//! a worker learns that there is something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Workload;
use crate::broker::Broker;
use crate::database::Database;
use crate::peers::{Backbone, Graphile, Hexeract, OrderPlaced, Ours, Oxide, Peer, Pgmq, Writer};
use crate::report::{Report, progress};
use crate::worker::Wake;

pub(crate) const NAME: &str = "peers-latency";

/// Commits per second.
const RATE: u32 = 500;
/// What counts.
const SECONDS: u32 = 10;
/// Messages before anything counts: connections, plans and caches.
const WARM_UP: u32 = RATE;
/// Transactions at once: enough that a commit whose flush is slow keeps nobody from the next one.
const CONNECTIONS: usize = 16;
/// From the making of a schedule to its first commit.
const LEAD: Duration = Duration::from_millis(50);

const OURS: [(&str, &dyn Peer); 2] = [("ours woken", &Ours::KEYED), ("ours by LISTEN", &Ours::NOTIFIED)];

const RIVALS: [&dyn Peer; 5] =
    [&Oxide { notifies: true }, &Pgmq { notifies: true }, &Graphile::Notified, &Hexeract, &Backbone];

/// In milliseconds.
#[derive(Clone, Copy)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

/// The number of a message, and the end of its commit.
type Commit = (u32, Instant);

/// In turn, and the best round of each counts.
pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    let rivals = RIVALS.into_iter().filter(|rival| rival.name().contains(&workload.only));
    let peers: Vec<&dyn Peer> = OURS.iter().map(|(_, ours)| *ours).chain(rivals).collect();
    let mut best = vec![Percentiles { p50: f64::MAX, p99: f64::MAX }; peers.len()];
    for round in 1..=workload.rounds {
        for (peer, best) in peers.iter().zip(&mut best) {
            let Percentiles { p50, p99 } = measure(*peer).await.with_context(|| peer.name())?;
            progress(format_args!("{NAME}, round {round}: {}: {p50:.2} / {p99:.2} ms", peer.name()));
            *best = Percentiles { p50: best.p50.min(p50), p99: best.p99.min(p99) };
        }
    }
    let (ours, theirs) = best.split_at(OURS.len());
    for (rival, theirs) in peers.iter().skip(OURS.len()).zip(theirs) {
        for ((how, _), ours) in OURS.iter().zip(ours) {
            let mut row = |what: &str, figures: (f64, f64)| {
                let variant = format!("{}, {RATE}/s, commit to publish, {what}, {how}", rival.name());
                report.push((NAME, "none"), variant, figures, "ms");
            };
            row("p50", (ours.p50, theirs.p50));
            row("p99", (ours.p99, theirs.p99));
        }
    }
    Ok(())
}

async fn measure(peer: &dyn Peer) -> Result<Percentiles> {
    let database = Database::fresh().await?;
    peer.create(&database).await.context("its tables")?;
    let messages = WARM_UP + RATE * SECONDS;
    let (broker, mut arrivals) = Broker::stamping(messages);
    let mut worker = peer.start(&database, broker.clone()).await?;
    let mut writers = Vec::new();
    for _ in 0..CONNECTIONS {
        writers.push(peer.writer(&database).await?);
    }
    let commits = write(writers, Arc::clone(&worker.wake), messages).await?;
    worker.until(broker.complete()).await?;
    worker.stop().await?;
    database.remove().await?;
    let mut published = vec![None; commits.len()];
    while let Ok((number, at)) = arrivals.try_recv() {
        let place = usize::try_from(number).ok().and_then(|number| published.get_mut(number));
        // A second copy counts for nothing.
        place.with_context(|| format!("nobody wrote message {number}"))?.get_or_insert(at);
    }
    percentiles(&commits, &published)
}

/// Commits at times that were fixed before: a slow one makes no later one late without its being seen.
async fn write(writers: Vec<Box<dyn Writer>>, wake: Wake, messages: u32) -> Result<Vec<Commit>> {
    let turns = Arc::new(Semaphore::new(0));
    let next = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    for mut writer in writers {
        let (turns, next, wake) = (Arc::clone(&turns), Arc::clone(&next), Arc::clone(&wake));
        tasks.spawn(async move {
            let mut commits = Vec::new();
            loop {
                turns.acquire().await?.forget();
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= messages {
                    return anyhow::Ok(commits);
                }
                writer.write(OrderPlaced::new(number)).await?;
                let committed = Instant::now();
                wake();
                commits.push((number, committed));
            }
        });
    }
    let start = Instant::now() + LEAD;
    // A thread of its own: timers of the runtime are exact to a millisecond only.
    let schedule = thread::spawn(move || {
        for number in 0..messages {
            let due = start + Duration::from_secs(1) / RATE * number;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            turns.add_permits(1);
        }
        turns.add_permits(CONNECTIONS);
    });
    let mut commits = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        commits.extend(ended??);
    }
    schedule.join().ok().context("the schedule panicked")?;
    commits.sort_unstable_by_key(|(number, _)| *number);
    Ok(commits)
}

/// A message may be published before its writer has heard of its own commit. That counts as no time at all.
fn percentiles(commits: &[Commit], published: &[Option<Instant>]) -> Result<Percentiles> {
    let mut times = Vec::new();
    for ((number, committed), published) in commits.iter().zip(published) {
        let published = published.with_context(|| format!("message {number} was not published"))?;
        if *number >= WARM_UP {
            times.push(published.saturating_duration_since(*committed));
        }
    }
    ensure!(!times.is_empty(), "nothing was measured");
    times.sort_unstable();
    let of =
        |hundredths: usize| times[(times.len() * hundredths / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    Ok(Percentiles { p50: of(50), p99: of(99) })
}
