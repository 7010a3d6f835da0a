//! A hundred workers on one key, and on sixteen, and what became of their messages.
//!
//! ```text
//! cargo run -p hot-key-engine
//! ```

#![forbid(unsafe_code)]

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use hot_key_engine::{Storm, count};
use outbox::TransactionPolicy;
use outbox::memory::{Engine, RunError, Step};

// More threads than cores, so that workers are interrupted between what they read and the swap.
#[tokio::main(worker_threads = 8)]
async fn main() -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "keys  commits  lost attempts  delivered  duplicates  phantoms  missing  gaps  seconds")?;
    for keys in [1, 16] {
        let engine = Engine::new();
        let begun = Instant::now();
        let report = Storm { workers: 100, each: 100, keys }.run(&engine).await?;
        writeln!(
            out,
            "{keys:>4}{:>9}{:>15}{:>11}{:>12}{:>10}{:>9}{:>6}{:>9.2}",
            report.commits,
            report.lost_attempts,
            report.delivered,
            report.duplicates,
            report.phantoms,
            report.missing,
            report.gaps,
            begun.elapsed().as_secs_f64(),
        )?;
        report.verdict()?;
    }

    // A key that another commit gets every time: three attempts, and an answer.
    let policy =
        TransactionPolicy::new().attempts(3).pauses(Duration::from_millis(1), Duration::from_millis(5));
    let engine = Engine::<String, u64>::new().with_policy(policy);
    let begun = Instant::now();
    let outrun = engine.run("hot", |count: &u64| {
        // No process may do this; here it stands for a rival that is always faster.
        let _ = engine.commit("hot", &engine.state("hot"), Step::new(count + 1));
        Step::new(count + 1)
    });
    if let Err(RunError::Busy(busy)) = outrun.await {
        writeln!(out, "\nafter {:?}: {busy}", begun.elapsed())?;
    }
    engine.run("hot", count("hot")).await?;
    Ok(())
}
