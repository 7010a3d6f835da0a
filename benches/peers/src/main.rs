//! The outbox beside its rivals: the same work on the same database in the same run.
#![forbid(unsafe_code)]

mod benches;
mod broker;
mod database;
#[path = "../../outbox-bench/src/machine.rs"]
#[expect(dead_code, reason = "the memory of a process is not measured here")]
mod machine;
mod peers;
mod report;
mod worker;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use benches::{drain, latency, slow_broker};
use machine::Machine;
use report::Report;

#[derive(Parser)]
#[command(about = "Measures the outbox beside its rivals; run by `cargo xtask bench --peers`")]
struct Cli {
    /// Fewer messages and one round, for a first impression
    #[arg(long)]
    quick: bool,
    /// Only the benches whose name contains this: drain, slow-broker, latency
    #[arg(long, default_value = "")]
    bench: String,
    /// Messages per round, 200,000 by default; rivals that would take minutes get a part of them
    #[arg(long)]
    messages: Option<u32>,
    /// Rounds, 3 by default; the best one of each rival counts
    #[arg(long)]
    rounds: Option<u32>,
    /// Only rivals whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Writes the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How much is measured.
struct Workload {
    messages: u32,
    rounds: u32,
    only: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Cli { quick, bench, messages, rounds, only, json } = Cli::parse();
    let messages = messages.unwrap_or(if quick { 50_000 } else { 200_000 });
    let rounds = rounds.unwrap_or(if quick { 1 } else { 3 }).max(1);
    let workload = Workload { messages, rounds, only };
    let mut machine = Machine::here();
    machine.add("postgres", database::version().await?);
    let mut report = Report::default();
    if drain::NAME.contains(&bench) {
        drain::run(&workload, &mut report).await.context(drain::NAME)?;
    }
    if slow_broker::NAME.contains(&bench) {
        slow_broker::run(&workload, &mut report).await.context(slow_broker::NAME)?;
    }
    if latency::NAME.contains(&bench) {
        latency::run(&workload, &mut report).await.context(latency::NAME)?;
    }
    report.print(&machine.facts());
    match &json {
        Some(file) => report.write(file),
        None => Ok(()),
    }
}
