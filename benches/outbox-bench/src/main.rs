//! The outbox measured beside the best bare loop that one could write by hand for the same database.
#![forbid(unsafe_code)]

mod benches;
mod broker;
mod child;
mod database;
mod machine;
mod orm;
mod ours;
mod page;
mod plot;
mod progress;
mod raw;
mod report;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use futures_util::future::BoxFuture;
use outbox_sqlx::Backend;
use tracing_subscriber::EnvFilter;

use benches::{
    backlog, cold_plan, drain, end_to_end, enqueue, held_snapshot, inbox, latency, publish, scale,
    slow_broker,
};
use database::Database;
use database::mysql::MySqlDatabase;
use database::postgres::PostgresDatabase;
use database::sqlite::SqliteDatabase;
use machine::Machine;
use progress::progress;
use report::Report;
use workload::Workload;

/// That of the command `outbox`, for both sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Measures the outbox; run by `cargo xtask bench`")]
struct Cli {
    /// Fewer messages and fewer rounds, for a first impression
    #[arg(long)]
    quick: bool,
    /// Writes the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page with the machine, the figures and plots of them into this folder as well
    #[arg(long, value_name = "FOLDER")]
    page: Option<PathBuf>,
    /// Only the bench with this name: drain, end-to-end, slow-broker, held-snapshot, cold-plan, backlog, scale, enqueue,
    /// inbox, latency, publish
    #[arg(long, default_value = "")]
    bench: String,
    /// Only stores whose name contains this: postgres, mariadb, sqlite
    #[arg(long, default_value = "")]
    store: String,
    /// Only brokers whose name contains this: kafka, amqp, nats, redis
    #[arg(long, default_value = "")]
    transport: String,
    /// Messages per round of drain and cold-plan; a quarter of it per round of publish
    #[arg(long)]
    messages: Option<u32>,
    /// Text headers per message
    #[arg(long, default_value_t = 0)]
    headers: u32,
    /// Rounds of drain and cold-plan; the best one counts
    #[arg(long)]
    rounds: Option<u32>,
    /// Bursts of held-snapshot
    #[arg(long)]
    bursts: Option<u32>,
    /// Messages per burst
    #[arg(long)]
    burst: Option<u32>,
    /// The longest backlog; a long run takes ten million
    #[arg(long)]
    backlog: Option<u32>,
    /// Does nothing but empty the tables that are there; for the bench backlog
    #[arg(long, hide = true)]
    drain: Option<backlog::Drain>,
    /// Does nothing but relay; for the bench latency
    #[arg(long, hide = true)]
    relay: bool,
}

/// A bench on PostgreSQL.
type Bench = for<'a> fn(&'a Cli, &'a Workload, &'a mut Report) -> BoxFuture<'a, Result<()>>;

const POSTGRES: [(&str, Bench); 10] = [
    (drain::NAME, |_, workload, report| Box::pin(drain::orms(workload, report))),
    (end_to_end::NAME, |cli, workload, report| Box::pin(end_to_end::run(workload, &cli.transport, report))),
    (slow_broker::NAME, |_, workload, report| Box::pin(slow_broker::run(workload, report))),
    (held_snapshot::NAME, |_, workload, report| Box::pin(held_snapshot::run(workload, report))),
    (cold_plan::NAME, |_, workload, report| Box::pin(cold_plan::run(workload, report))),
    (backlog::NAME, |_, workload, report| Box::pin(backlog::run(workload, report))),
    (scale::NAME, |_, workload, report| Box::pin(scale::run(workload, report))),
    (enqueue::NAME, |_, workload, report| Box::pin(enqueue::run(workload, report))),
    (inbox::NAME, |_, workload, report| Box::pin(inbox::run(workload, report))),
    (latency::NAME, |cli, workload, report| Box::pin(latency::run(workload, &cli.transport, report))),
];

impl Cli {
    fn workload(&self) -> Workload {
        let plan = if self.quick { Workload::QUICK } else { Workload::FULL };
        Workload {
            messages: self.messages.unwrap_or(plan.messages),
            headers: self.headers,
            rounds: self.rounds.unwrap_or(plan.rounds).max(1),
            bursts: self.bursts.unwrap_or(plan.bursts).max(2),
            burst: self.burst.unwrap_or(plan.burst),
            backlog: self.backlog.unwrap_or(plan.backlog),
        }
    }

    fn wants(&self, bench: &str, store: &str) -> bool {
        bench.contains(&self.bench) && store.contains(&self.store)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    // A relay that can't work says so in its log; without one a run would just stand still.
    // lapin calls it an error when a bare client is dropped with its connection.
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "error,lapin=off".to_owned());
    let filter = EnvFilter::builder().parse_lossy(filter);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Some(drain) = cli.drain {
        return child::run(drain, cli.messages.unwrap_or_default()).await;
    }
    if cli.relay {
        return latency::run_as_process().await;
    }
    let workload = cli.workload();
    let mut machine = Machine::here();
    let mut report = Report::default();
    let benches: Vec<_> =
        POSTGRES.iter().filter(|(name, _)| cli.wants(name, PostgresDatabase::NAME)).collect();
    // Beside those: the drain on each database, and the transports alone.
    progress::begin(benches.len() + 4);

    store::<PostgresDatabase>(&cli, !benches.is_empty(), &workload, &mut machine, &mut report).await?;
    for (name, bench) in benches {
        bench(&cli, &workload, &mut report).await.with_context(|| (*name).to_owned())?;
        progress::step();
    }
    store::<MySqlDatabase>(&cli, false, &workload, &mut machine, &mut report).await?;
    store::<SqliteDatabase>(&cli, false, &workload, &mut machine, &mut report).await?;
    if publish::NAME.contains(&cli.bench) && cli.store.is_empty() {
        publish::run(&workload, &cli.transport, &mut report).await.context(publish::NAME)?;
    }
    progress::end();

    let facts = machine.facts();
    print(&facts, &report);
    if let Some(folder) = &cli.page {
        page::write(folder, &facts, &report)?;
    }
    match &cli.json {
        Some(file) => report.write(file),
        None => Ok(()),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what a run is for")]
fn print(facts: &[(String, String)], report: &Report) {
    for (name, value) in facts {
        println!("{name}: {value}");
    }
    println!("\n{}", report.table());
}

/// The drain, on every database, and the version of the database where anything is measured on it.
async fn store<D>(
    cli: &Cli,
    used: bool,
    workload: &Workload,
    machine: &mut Machine,
    report: &mut Report,
) -> Result<()>
where
    D: Database,
    D::Driver: Backend,
{
    let drains = cli.wants(drain::NAME, D::NAME);
    // A database that is not asked for need not run.
    if used || drains {
        let mut database = D::fresh().await.context(D::NAME)?;
        machine.add(D::NAME, database.version().await?);
        database.remove().await?;
    }
    if drains {
        progress(format_args!("{}: {}", D::NAME, drain::NAME));
        drain::run::<D>(workload, report).await.with_context(|| format!("{} on {}", drain::NAME, D::NAME))?;
    }
    progress::step();
    Ok(())
}
