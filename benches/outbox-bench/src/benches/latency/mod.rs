//! How soon a committed message is published (PostgreSQL), at a rate that leaves the relay most of its time: what counts
//! here is how it learns that there is something.

mod bare;
mod clock;
mod cpu;
mod producers;
mod relay;
mod samples;
mod scenario;
mod stamped;

use std::time::Duration;

use anyhow::{Context, Result};

use crate::database::Database;
use crate::database::postgres::PostgresDatabase;
use crate::report::{Measurement, Report, progress};
use crate::workload::Workload;

pub(crate) use relay::run_as_process;
use samples::Figures;
use scenario::{Learns, Rate, Scenario};

pub(crate) const NAME: &str = "latency";

/// Commits per second.
const RATE: u32 = 500;

/// All scenarios whose broker's name contains `only`.
pub(crate) async fn run(workload: &Workload, only: &str, report: &mut Report) -> Result<()> {
    let quick = workload.is_quick();
    let length = Duration::from_secs(if quick { 1 } else { 20 });
    for scenario in scenarios(quick).iter().filter(|scenario| scenario.broker.contains(only)) {
        progress(format_args!("{NAME}: {scenario}"));
        let ours = scenario.measure(length).await.with_context(|| scenario.to_string())?;
        let raw = match scenario.has_raw_twin() {
            true => Some(bare::measure(RATE, length).await.context("the bare loop")?),
            false => None,
        };
        push(scenario, &ours, raw.as_ref(), report);
    }
    Ok(())
}

fn scenarios(quick: bool) -> Vec<Scenario> {
    let steady = Rate::Steady(RATE);
    let mut scenarios = vec![
        Scenario { broker: "none", learns: Learns::Waker, rate: steady },
        Scenario { broker: "none", learns: Learns::Notification, rate: steady },
        Scenario { broker: "nats", learns: Learns::Waker, rate: steady },
    ];
    if !quick {
        scenarios.extend([
            Scenario { broker: "none", learns: Learns::Hint, rate: steady },
            Scenario { broker: "none", learns: Learns::Polling, rate: steady },
            Scenario { broker: "none", learns: Learns::Waker, rate: Rate::HalfOfTheCeiling },
            Scenario { broker: "nats", learns: Learns::Notification, rate: steady },
        ]);
    }
    // A broker that need not be there: `cargo xtask bench` says where it is.
    if !quick && std::env::var_os("OUTBOX_TEST_KAFKA_URL").is_some() {
        scenarios.extend([
            Scenario { broker: "kafka", learns: Learns::Waker, rate: steady },
            Scenario { broker: "kafka", learns: Learns::Notification, rate: steady },
        ]);
    }
    scenarios
}

fn push(scenario: &Scenario, ours: &Figures, raw: Option<&Figures>, report: &mut Report) {
    let mut row = |what: &str, unit, figure: fn(&Figures) -> f64| {
        report.push(Measurement {
            bench: NAME,
            store: PostgresDatabase::NAME,
            orm: "sqlx",
            transport: scenario.broker,
            variant: format!("{}, {}/s, {what}", scenario.learns, ours.rate),
            ours: Some(figure(ours)),
            raw: raw.map(figure),
            unit,
        });
    };
    let to = if scenario.broker == "none" { "commit to publish" } else { "commit to acknowledgement" };
    row(&format!("{to}, p50"), "ms", |figures| figures.from_commit.p50);
    row(&format!("{to}, p99"), "ms", |figures| figures.from_commit.p99);
    row("longest", "ms", |figures| figures.from_commit.longest);
    row("from the time that the commit was due, p99", "ms", |figures| figures.from_schedule.p99);
    row("the relay's share of a core", "of 1", |figures| figures.cores);
}
