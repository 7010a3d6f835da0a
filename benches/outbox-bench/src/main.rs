//! The outbox measured beside the best bare loop that one could write by hand for the same database.
#![forbid(unsafe_code)]

mod benches;
mod broker;
mod database;
mod machine;
mod orm;
mod ours;
mod raw;
mod report;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use outbox_sqlx::Backend;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use benches::{cold_plan, drain, enqueue, held_snapshot, inbox, publish};
use database::Database;
use database::mysql::MySqlDatabase;
use database::postgres::PostgresDatabase;
use database::sqlite::SqliteDatabase;
use machine::Machine;
use report::{Report, progress};
use workload::Workload;

#[derive(Parser)]
#[command(about = "Measures the outbox; run by `cargo xtask bench`")]
struct Cli {
    /// Fewer messages and fewer rounds: done in a minute, and good for a first impression
    #[arg(long)]
    quick: bool,
    /// Writes the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the bench with this name: drain, held-snapshot, cold-plan, enqueue, inbox, publish
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
}

impl Cli {
    fn workload(&self) -> Workload {
        let plan = if self.quick { Workload::QUICK } else { Workload::FULL };
        Workload {
            messages: self.messages.unwrap_or(plan.messages),
            headers: self.headers,
            rounds: self.rounds.unwrap_or(plan.rounds).max(1),
            bursts: self.bursts.unwrap_or(plan.bursts).max(2),
            burst: self.burst.unwrap_or(plan.burst),
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
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::ERROR.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let workload = cli.workload();
    let mut machine = Machine::here();
    let mut report = Report::default();

    let all = [drain::NAME, held_snapshot::NAME, cold_plan::NAME, enqueue::NAME, inbox::NAME];
    store::<PostgresDatabase>(&cli, &all, &workload, &mut machine, &mut report).await?;
    if cli.wants(held_snapshot::NAME, PostgresDatabase::NAME) {
        held_snapshot::run(&workload, &mut report).await.context(held_snapshot::NAME)?;
    }
    if cli.wants(cold_plan::NAME, PostgresDatabase::NAME) {
        cold_plan::run(&workload, &mut report).await.context(cold_plan::NAME)?;
    }
    if cli.wants(enqueue::NAME, PostgresDatabase::NAME) {
        enqueue::run(&workload, &mut report).await.context(enqueue::NAME)?;
    }
    if cli.wants(inbox::NAME, PostgresDatabase::NAME) {
        inbox::run(&workload, &mut report).await.context(inbox::NAME)?;
    }
    store::<MySqlDatabase>(&cli, &[drain::NAME], &workload, &mut machine, &mut report).await?;
    store::<SqliteDatabase>(&cli, &[drain::NAME], &workload, &mut machine, &mut report).await?;

    if publish::NAME.contains(&cli.bench) && cli.store.is_empty() {
        publish::run(&workload, &cli.transport, &mut report).await.context(publish::NAME)?;
    }

    machine.print();
    report.print();
    match &cli.json {
        Some(file) => report.write(file),
        None => Ok(()),
    }
}

/// What is measured on every database, where at least one of these benches is wanted there.
async fn store<D>(
    cli: &Cli,
    benches: &[&str],
    workload: &Workload,
    machine: &mut Machine,
    report: &mut Report,
) -> Result<()>
where
    D: Database,
    D::Driver: Backend,
{
    // A database that is not asked for need not run.
    if !benches.iter().any(|bench| cli.wants(bench, D::NAME)) {
        return Ok(());
    }
    let mut database = D::fresh().await.context(D::NAME)?;
    machine.add(D::NAME, database.version().await?);
    database.remove().await?;
    if cli.wants(drain::NAME, D::NAME) {
        progress(format_args!("{}: {}", D::NAME, drain::NAME));
        drain::run::<D>(workload, report).await.with_context(|| format!("{} on {}", drain::NAME, D::NAME))?;
    }
    Ok(())
}
