//! The outbox measured beside the best bare loop that one could write by hand for the same database.
#![forbid(unsafe_code)]

mod raw;
mod report;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use report::{Measurement, Report};
use workload::Workload;

#[derive(Parser)]
#[command(about = "Measures the outbox; run by `cargo xtask bench`")]
struct Cli {
    /// Fewer messages and one round: does it work, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Writes the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Messages per round
    #[arg(long)]
    messages: Option<u32>,
    /// Rounds; the best one counts
    #[arg(long)]
    rounds: Option<u32>,
    /// Only stores whose name contains this
    #[arg(long, default_value = "")]
    store: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut workload = if cli.quick {
        Workload::QUICK
    } else {
        Workload::FULL
    };
    workload.messages = cli.messages.unwrap_or(workload.messages);
    workload.rounds = cli.rounds.unwrap_or(workload.rounds);

    let mut report = Report::default();
    for store in ["postgres", "sqlite"] {
        if !store.contains(&cli.store) {
            continue;
        }
        let raw = match store {
            "postgres" => raw::postgres::drain(&workload).await.context("PostgreSQL")?,
            _ => raw::sqlite::drain(&workload).await.context("SQLite")?,
        };
        report.push(Measurement {
            bench: "drain",
            store,
            orm: "sqlx",
            transport: "none",
            variant: format!("{} messages", workload.messages),
            ours: None,
            raw: Some(raw),
            unit: "msg/s",
        });
    }
    report.print();
    match &cli.json {
        Some(file) => report.write(file),
        None => Ok(()),
    }
}
