//! Whether a message costs more, and the relay takes more memory, the more of them wait (PostgreSQL).

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, fill_with};
use crate::plot::{Line, Plot};
use crate::report::{Measurement, Report, progress};
use crate::workload::{Keys, PAYLOAD, Shape, Workload};

pub(crate) const NAME: &str = "backlog";

/// The shortest backlog; each of the following is ten times as long.
const SHORTEST: u32 = 10_000;

/// Bytes of the payload of a large message.
const LARGE: usize = 1_000_000;

/// Who drains the tables, in a process of its own, so that its memory is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Drain {
    Relay,
    Bare,
}

/// What such a process tells.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Drained {
    pub(crate) seconds: f64,
    /// The most memory that it had.
    pub(crate) mebibytes: f64,
}

pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    let mut figures = Vec::new();
    let mut messages = SHORTEST;
    while messages <= workload.backlog {
        progress(format_args!("{}: {NAME}, {messages} messages", PostgresDatabase::NAME));
        let both = both(&Shape::to("bench.orders", Keys::Many), messages, rounds(workload, messages)).await?;
        speed(report, messages, PAYLOAD, both);
        memory(report, messages, PAYLOAD, both);
        figures.push((f64::from(messages), both));
        messages = messages.saturating_mul(10);
    }
    let cost = |place: usize| {
        let costs = figures.iter().map(|(messages, both)| (*messages, both[place].seconds / messages * 1e6));
        costs.collect::<Vec<_>>()
    };
    let [ours, raw] = [cost(0), cost(1)];
    // The shortest is over before a relay has warmed up.
    if let [_, (hundred_thousand, first), .., (longest, last)] = ours[..] {
        report.push(Measurement {
            bench: NAME,
            store: PostgresDatabase::NAME,
            orm: "sqlx",
            transport: "none",
            variant: format!("speed at {longest} against {hundred_thousand} messages"),
            ours: Some(first / last),
            raw: Some(raw[1].1 / raw[raw.len() - 1].1),
            unit: "of 1",
        });
    }
    let lines = [("ours", ours), ("raw", raw)].map(|(name, points)| Line { name: name.to_owned(), points });
    report.plot(Plot {
        name: NAME,
        title: "What a message costs, by how many wait".to_owned(),
        across: "messages that wait",
        up: "µs per message",
        lines: lines.into(),
        logarithmic: true,
    });
    let large = (workload.messages / 200).max(100);
    progress(format_args!("{}: {NAME}, {large} large messages", PostgresDatabase::NAME));
    let shape = Shape { payload: LARGE, ..Shape::to("bench.orders", Keys::Many) };
    let both = both(&shape, large, 1).await?;
    speed(report, large, LARGE, both);
    memory(report, large, LARGE, both);
    Ok(())
}

/// The longest ones are long enough to say something the first time.
fn rounds(workload: &Workload, messages: u32) -> u32 {
    if messages > 1_000_000 { 1 } else { workload.rounds.min(3) }
}

/// The relay's best and the bare loop's.
async fn both(shape: &Shape, messages: u32, rounds: u32) -> Result<[Drained; 2]> {
    let mut best = [Drained { seconds: f64::MAX, mebibytes: 0.0 }; 2];
    for _ in 0..rounds {
        for (drain, best) in [Drain::Relay, Drain::Bare].into_iter().zip(&mut best) {
            let mut database = PostgresDatabase::fresh().await?;
            fill_with(&mut database, shape.clone(), messages).await?;
            database.checkpoint().await?;
            let drained = child(drain, messages).await?;
            best.seconds = best.seconds.min(drained.seconds);
            // The most of all rounds: a limit is to hold in each.
            best.mebibytes = best.mebibytes.max(drained.mebibytes);
            database.remove().await?;
        }
    }
    Ok(best)
}

/// This program once more, as a drain.
async fn child(drain: Drain, messages: u32) -> Result<Drained> {
    let name = clap::ValueEnum::to_possible_value(&drain).context("it has a name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--drain", name.get_name(), "--messages", &messages.to_string()]).stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "a drain ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn speed(report: &mut Report, messages: u32, bytes: usize, [ours, raw]: [Drained; 2]) {
    report.push(Measurement {
        bench: NAME,
        store: PostgresDatabase::NAME,
        orm: "sqlx",
        transport: "none",
        variant: format!("{messages} messages of {bytes} bytes"),
        ours: Some(f64::from(messages) / ours.seconds),
        raw: Some(f64::from(messages) / raw.seconds),
        unit: "msg/s",
    });
}

fn memory(report: &mut Report, messages: u32, bytes: usize, [ours, raw]: [Drained; 2]) {
    report.push(Measurement {
        bench: NAME,
        store: PostgresDatabase::NAME,
        orm: "sqlx",
        transport: "none",
        variant: format!("{messages} messages of {bytes} bytes, most memory of the process (less is better)"),
        ours: Some(ours.mebibytes),
        raw: Some(raw.mebibytes),
        unit: "MiB",
    });
}
