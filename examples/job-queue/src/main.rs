//! A thousand jobs, or as many as the first argument says, from the database to a list in Redis, and from there to a runner.
//!
//! ```text
//! cargo run -p job-queue
//! ```
//!
//! * `OUTBOX_STORE_URL`: the database; `sqlite:jobs.db` by default.
//! * `OUTBOX_TRANSPORT_URL`: where jobs go; by default `redis://127.0.0.1:6379?mode=list&prefix=shop.`.
//! * `RUNNER_URL`: where the runner takes them from; the same by default.

#![forbid(unsafe_code)]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use job_queue::{Jobs, open, relay, runner};
use outbox::Config;

const LIST: &str = "redis://127.0.0.1:6379?mode=list&prefix=shop.";

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("warn").init();
    let count: u64 = std::env::args().nth(1).map_or(Ok(1_000), |text| text.parse())?;
    let config = Config::load()?;
    let pool = open(config.store.url.as_deref().unwrap_or("sqlite:jobs.db")).await?;
    let from =
        std::env::var("RUNNER_URL").unwrap_or_else(|_| format!("{LIST}&group=runner&topics=images.resize"));

    let relay = relay(&pool, config.transport.url.as_deref().unwrap_or(LIST), |_| {}).await?;
    let worked = Arc::new(AtomicU64::new(0));
    let working = Arc::clone(&worked);
    let work = move |_image| {
        working.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(()))
    };
    let runner = runner(&pool, &from, work, |_| {}).await?;

    let jobs = Jobs::new(&pool);
    for number in 0..count {
        jobs.order(&format!("{number}.png")).await?;
    }
    tokio::time::timeout(Duration::from_secs(60), relay.drained())
        .await
        .context("Redis does not take the jobs")??;
    let ran = tokio::time::timeout(Duration::from_secs(30), async {
        while sqlx::query_scalar::<_, i64>("SELECT count(*) FROM jobs WHERE runs = 0")
            .fetch_one(&pool)
            .await?
            > 0
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    });
    let ran = ran.await;
    let (pushed, run) = (relay.shutdown().await?, runner.shutdown().await?);

    let mut out = std::io::stdout().lock();
    writeln!(out, "ordered      {count:>6}")?;
    writeln!(out, "pushed       {:>6}", pushed.delivered)?;
    writeln!(out, "worked on    {:>6}", worked.load(Ordering::Relaxed))?;
    writeln!(out, "recorded     {:>6}", run.applied)?;
    writeln!(out, "duplicates   {:>6}", run.duplicates)?;
    ran.context("jobs were pushed, and the runner does not get them: `outbox doctor` compares the names")??;
    let twice: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE runs <> 1").fetch_one(&pool).await?;
    ensure!(twice == 0, "{twice} jobs were recorded more than once");
    Ok(())
}
