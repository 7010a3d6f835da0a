//! Starts the services, makes trouble, waits until all is quiet, and looks into the databases.

mod brokers;
mod databases;
mod dead_letters;
mod missing;
mod processes;
mod proof;
mod tries;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use tokio::time::sleep;

pub(crate) use missing::Missing;

use crate::run::Run;
use crate::service::mishaps::Mishaps;
use crate::service::orders::Orders;
use brokers::Brokers;
use databases::{Counts, Databases};
use dead_letters::DeadLetters;
use processes::Processes;
use proof::Proof;
use tries::Tries;

/// How the story goes
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Story {
    /// Orders in all
    #[arg(long, default_value_t = 200)]
    orders: i64,
    /// Takes orders for as long as that, however many they are
    #[arg(long)]
    minutes: Option<f64>,
    /// Orders in a second
    #[arg(long, default_value_t = 25)]
    rate: u32,
    /// While orders are taken, kills one of the processes at random, again and again
    #[arg(long)]
    kills: bool,
    /// Seconds from one kill to the next, on average
    #[arg(long, default_value_t = 3.0)]
    kill_every: f64,
    /// The part of the handlers that fail
    #[arg(long, default_value_t = 0.05)]
    fail: f64,
    /// The part of the messages with which a process aborts
    #[arg(long, default_value_t = 0.005)]
    abort: f64,
    /// Where the random numbers begin
    #[arg(long, default_value_t = fastrand::u64(..1_000_000))]
    seed: u64,
    /// Leaves the databases, the queues and the logs behind
    #[arg(long)]
    keep: bool,
}

/// Where nothing has moved for so long, nothing will.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn tell(mut run: Run, story: Story) -> Result<()> {
    let folder = tempfile::Builder::new().prefix(&run.name).tempdir()?;
    run.folder = folder.path().to_owned();
    say(&format!("run {}, seed {}", run.name, story.seed));

    let brokers = Brokers::connect(&run).await?;
    let result = tokio::select! {
        result = Box::pin(play(&run, &story, &brokers)) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if story.keep {
        say(&format!("everything is left behind: logs in {}", folder.keep().display()));
        return result;
    }
    let removed = async { (databases::remove(&run).await, brokers.remove(&run).await) }.await;
    // What the story says is more than what cleaning up says.
    result?;
    removed.0?;
    removed.1
}

async fn play(run: &Run, story: &Story, brokers: &Brokers) -> Result<()> {
    let databases = Databases::create(run).await?;
    brokers.prepare(run).await?;
    let dead_letters = DeadLetters::collect(run, brokers).await?;

    let mut processes = Processes::start(run, orders(story), story.seed)?;
    let began = Instant::now();
    let mut stage = Stage { databases: &databases, brokers, dead_letters: &dead_letters, began };
    stage.orders_are_taken(story, &mut processes).await?;
    say(&format!("{:>4} s: no more orders and no more kills", began.elapsed().as_secs()));
    stage.all_becomes_quiet(&mut processes).await?;

    let proof = Proof::of(&databases, &dead_letters).await?;
    say(&format!("\n{proof}\n{}", Tries::read(run, &processes)?));
    let left = brokers.left(run).await?;
    ensure!(left == 0, "{left} messages are left in the brokers");
    if let Err(error) = proof.verdict() {
        bail!("{error}\n\nTo look closer: --seed {} --keep", story.seed);
    }
    say("proved: every order was billed once and shipped once, in its sequence, or is in the dead letters");
    Ok(())
}

/// How orders are taken.
fn orders(story: &Story) -> Orders {
    let until = story.minutes.map(|minutes| {
        let time = SystemTime::now() + Duration::from_secs_f64(minutes * 60.0);
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        u64::try_from(time).unwrap_or(u64::MAX)
    });
    Orders {
        mishaps: Mishaps { fail: story.fail, abort: story.abort, ..Mishaps::default() },
        rate: story.rate,
        count: story.minutes.is_none().then_some(story.orders),
        until,
    }
}

/// What the story looks at.
struct Stage<'s> {
    databases: &'s Databases,
    brokers: &'s Brokers,
    dead_letters: &'s DeadLetters,
    began: Instant,
}

impl Stage<'_> {
    async fn orders_are_taken(&mut self, story: &Story, processes: &mut Processes) -> Result<()> {
        let mut random = fastrand::Rng::with_seed(story.seed);
        let mut pause = || Duration::from_secs_f64(story.kill_every * (0.5 + random.f64()));
        let (mut next_kill, mut next_report) = (Instant::now() + pause(), Instant::now());
        loop {
            processes.revive()?;
            let counts = self.databases.counts().await?;
            self.report(&counts, processes, &mut next_report);
            let over = match story.minutes {
                Some(minutes) => self.began.elapsed().as_secs_f64() > minutes * 60.0,
                None => counts.placed >= story.orders,
            };
            if over {
                return Ok(());
            }
            if story.kills && Instant::now() >= next_kill {
                processes.kill_one();
                next_kill = Instant::now() + pause();
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Until nothing is left to do: in no outbox, in no broker, and in no process.
    async fn all_becomes_quiet(&mut self, processes: &mut Processes) -> Result<()> {
        let (mut before, mut moved, mut next_report) = (None, Instant::now(), Instant::now());
        loop {
            processes.revive()?;
            let counts = self.databases.counts().await?;
            if before.replace(counts) != Some(counts) {
                moved = Instant::now();
            }
            self.report(&counts, processes, &mut next_report);
            let done = counts.shipped + self.dead_letters.orders() >= counts.placed && counts.outboxes == 0;
            let patient = moved.elapsed() < PATIENCE;
            if patient && !(done && self.brokers.left(self.databases.run()).await? == 0) {
                sleep(Duration::from_millis(200)).await;
                continue;
            }
            if !patient {
                say(&format!("nothing has moved for {} s", PATIENCE.as_secs()));
            }
            processes.stop().await?;
            // What was only waiting in a process is in its queue again.
            if !patient || self.brokers.left(self.databases.run()).await? == 0 {
                return Ok(());
            }
        }
    }

    fn report(&self, counts: &Counts, processes: &Processes, next: &mut Instant) {
        if Instant::now() < *next {
            return;
        }
        *next = Instant::now() + Duration::from_secs(5);
        let Counts { placed, billed, shipped, .. } = counts;
        say(&format!(
            "{:>4} s: {placed} placed, {billed} billed, {shipped} shipped, {} dead; {} kills, {} restarts",
            self.began.elapsed().as_secs(),
            self.dead_letters.orders(),
            processes.kills(),
            processes.restarts(),
        ));
    }
}

#[expect(clippy::print_stdout, reason = "this is what the example is for")]
fn say(text: &str) {
    println!("{text}");
}
