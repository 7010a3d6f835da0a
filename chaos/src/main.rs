//! Real processes, real databases and real brokers, random faults, and a checker that believes none of them.
//!
//! `cargo xtask chaos` builds and starts it; chaos/README.md says what it does and what it has found.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the person who started it")]

mod actors;
mod brokers;
mod campaign;
mod check;
mod fault;
mod log;
mod nemesis;
mod plan;
mod results;
mod run;
mod sabotage;
mod stores;
mod table;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use actors::{ROLE, Role};
use brokers::BrokerKind;
use campaign::{Campaign, Continue, Order};
use fault::Fault;
use plan::Plan;
use results::Results;
use stores::StoreKind;

/// Random faults on relays, producers, consumers, brokers and databases.
///
/// Each run has half a minute of work and trouble, then peace, and then everything that was committed is compared with
/// everything that the broker has, the effects and the dead letters. Exit code 1 if something did not hold.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask chaos")]
struct Options {
    /// The first run has this seed, the next one the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs.
    #[arg(long, default_value_t = 12)]
    runs: u64,
    /// No run begins later than so many minutes after the first.
    #[arg(long)]
    minutes: Option<u64>,
    /// The database; otherwise all in turn.
    #[arg(long)]
    store: Option<StoreKind>,
    /// The broker; otherwise all in turn.
    #[arg(long)]
    transport: Option<BrokerKind>,
    /// Only these faults; can be given several times. `--fault help` names them.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// How many relays there are.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    relays: u8,
    /// How long there is work and trouble.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// A few short runs: done in three minutes.
    #[arg(long)]
    smoke: bool,
    /// Adds a line for each run to this file, and does no run again that is in there.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Prints the tables of a file of results, and does nothing else.
    #[arg(long, value_name = "FILE", exclusive = true)]
    report: Option<PathBuf>,
    /// Where the folders of runs are kept in which something did not hold.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Builds in this defect, or each of them in turn, and expects that it is noticed.
    #[arg(long, value_name = "DEFECT", num_args = 0..=1, default_missing_value = "all")]
    sabotage: Option<String>,
}

fn main() -> ExitCode {
    let played = tokio::runtime::Runtime::new().context("a runtime").and_then(|runtime| {
        let played = runtime.block_on(play());
        // Whoever waits for the end of the standard input does so in a thread that nobody can end.
        runtime.shutdown_background();
        played
    });
    match played {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn play() -> Result<ExitCode> {
    if let Ok(role) = std::env::var(ROLE) {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_env_filter(filter)
            .init();
        serde_json::from_str::<Role>(&role)?.play().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse();
    if let Some(path) = &options.report {
        println!("{}", table::campaign(&results::read(path)?));
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        ended = async {
            match &options.sabotage {
                Some(which) => sabotage::carry_out(which, &options).await,
                None => carry_out(&options).await,
            }
        } => ended,
        // What was started is ended with what holds it.
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    }
}

impl Options {
    fn order(&self) -> Order {
        Order {
            seed: self.seed,
            runs: if self.smoke { 4 } else { self.runs },
            time: self.minutes.map(|minutes| Duration::from_secs(60 * minutes)),
            store: self.store,
            transport: self.transport,
            faults: self.faults.clone(),
            relays: usize::from(self.relays),
            seconds: if self.smoke { self.seconds.min(12) } else { self.seconds },
            sabotage: None,
        }
    }
}

async fn carry_out(options: &Options) -> Result<ExitCode> {
    let mut results = Results::open(options.results.as_deref())?;
    let done = results.done();
    let mut campaign = Campaign::new(options.keep.clone())?;
    let is_done =
        |plan: &Plan| done.contains(&(plan.seed, plan.store, plan.transport, plan.sabotage.clone()));
    let mut good = true;
    let each = |outcome: run::Outcome, folder: PathBuf| {
        eprintln!("{}", campaign::line(&outcome.record));
        if let Some(story) = &outcome.story {
            good = false;
            let record = &outcome.record;
            println!(
                "{story}\nkept: {}\nagain: cargo xtask chaos --runs 1 --seed {} --store {} --transport {} --seconds {}",
                folder.display(),
                record.seed,
                table::name(&record.store),
                table::name(&record.transport),
                record.seconds,
            );
        }
        results.add(outcome.record)?;
        Ok(Continue::Yes)
    };
    let ended = campaign.carry_out(&options.order(), is_done, each).await;
    if !good {
        campaign.keep();
    }
    println!("{}", table::campaign(&results.records));
    ended?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
