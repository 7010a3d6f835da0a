//! Takes Kafka away from a service under load, gives it back, and counts.
//!
//! ```text
//! cargo run -p direct-first -- --rate 500 --seconds-down 60
//! ```
//!
//! * `OUTBOX_STORE_URL`: a server of PostgreSQL, for a database of the run's own;
//!   `postgres://postgres@127.0.0.1:5432/postgres` by default.
//! * `OUTBOX_WAKEUPS_REDIS_URL`: the Redis for hints; `redis://127.0.0.1:6379` by default.
//! * `OUTBOX_PROFILE`: `production` by default, in which the relay looks every 5 s when nothing happens.
//!
//! Kafka is a broker of the run's own that speaks its protocol, behind a proxy.

#![forbid(unsafe_code)]

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use direct_first::{Call, Database, Kafka, Outage, Outcome, Run};
use outbox::relay::PublishPath;

#[derive(Parser)]
struct Arguments {
    /// Scans a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(25..=10_000))]
    rate: u32,
    /// Before Kafka goes away.
    #[arg(long, default_value_t = 5)]
    seconds_before: u64,
    /// How long it is away.
    #[arg(long, default_value_t = 5)]
    seconds_down: u64,
    /// After everything is published at once again.
    #[arg(long, default_value_t = 5)]
    seconds_after: u64,
    /// How it is away.
    #[arg(long, value_enum, default_value = "refused")]
    outage: Outage,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("warn").init();
    let arguments = Arguments::parse();
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let server = variable("OUTBOX_STORE_URL", "postgres://postgres@127.0.0.1:5432/postgres");
    let redis = variable("OUTBOX_WAKEUPS_REDIS_URL", "redis://127.0.0.1:6379");
    let profile = variable("OUTBOX_PROFILE", "production");
    let missing = "there is no broker for this: `cargo xtask services up` builds one";
    let mut kafka = Kafka::start().await?.context(missing)?;
    let database = Database::create(&server).await?;
    let run = Run {
        rate: arguments.rate,
        before: Duration::from_secs(arguments.seconds_before),
        down: Duration::from_secs(arguments.seconds_down),
        after: Duration::from_secs(arguments.seconds_after),
        outage: arguments.outage,
    };
    let variables = [
        ("OUTBOX_PROFILE", profile.as_str()),
        ("OUTBOX_WAKEUPS_REDIS_URL", &redis),
        ("OUTBOX_WAKEUPS_SERVICE", "direct-first"),
        // Redis is to show that it is enough.
        ("OUTBOX_WAKEUPS_LISTEN", "false"),
    ];
    let outcome = run.run(&mut kafka, &database, &variables).await;
    database.remove().await?;
    let outcome = outcome?;
    print(&outcome)?;
    outcome.report.verdict()
}

fn print(outcome: &Outcome) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "calls                    direct  fallback  failed   p50 ms   p99 ms  longest ms")?;
    for (name, calls) in [
        ("before the outage", &outcome.before),
        ("from the outage on", &outcome.outage),
        ("after it", &outcome.after),
    ] {
        let of = |path| calls.iter().filter(|call| call.path == path).count();
        let (direct, fallback) = (of(Some(PublishPath::Direct)), of(Some(PublishPath::Fallback)));
        let [half, most, longest] = [0.5, 0.99, 1.0].map(|part| milliseconds(calls, part));
        let failed = of(None);
        writeln!(
            out,
            "{name:<20}{direct:>11}{fallback:>10}{failed:>8}{half:>9.1}{most:>9.1}{longest:>12.1}"
        )?;
    }
    let report = &outcome.report;
    let counted = report.counted;
    writeln!(out, "direct again after   {:>10.1} s", outcome.resumed.as_secs_f64())?;
    writeln!(out)?;
    writeln!(out, "                         direct  fallback  relayed  unknown")?;
    writeln!(out, "told to the callers {:>11}{:>10}", report.direct, report.fallback)?;
    writeln!(
        out,
        "counted             {:>11}{:>10}{:>9}{:>9}",
        counted.direct, counted.fallback, counted.relayed, counted.unknown
    )?;
    writeln!(out)?;
    writeln!(out, "records in Kafka    {:>11}", report.records)?;
    writeln!(out, "  copies            {:>11}", report.copies)?;
    writeln!(out, "  missing           {:>11}", report.missing)?;
    writeln!(out, "  out of order      {:>11}", report.out_of_order)?;
    writeln!(out, "left in the outbox  {:>11}", report.left)?;
    writeln!(out, "hints by Redis      {:>11}", outcome.hints)?;
    writeln!(out, "changes of pace     {:>11}", outcome.transitions)?;
    if let Some(error) = &outcome.error {
        writeln!(out, "the first error: {error}")?;
    }
    Ok(())
}

/// What this part of the calls took at most.
fn milliseconds(calls: &[Call], part: f64) -> f64 {
    let mut times: Vec<f64> = calls.iter().map(|call| call.took.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place"
    )]
    let place = (times.len() as f64 * part).ceil() as usize;
    times.get(place.saturating_sub(1)).copied().unwrap_or_default()
}
