use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use outbox::relay::{Consumer, ConsumerConfig};
use outbox::sqlx::{PostgresInbox, PostgresStore, TransactionError};
use outbox::{ConsumerName, HandlerError, OutboxMessage, Processed, connect_subscription, handler};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::order::{Fate, Order};

/// Where a worker finds its [`Settings`], as JSON.
pub(crate) const SETTINGS: &str = "OUTBOX_CONSUMER_WORKER";
/// What a worker says when it can be told to end.
pub(crate) const READY: &str = "ready";
/// What the figures of a worker that was stopped begin with.
pub(crate) const STATS: &str = "stats ";

/// What a worker says instead that could not be stopped in order.
pub(crate) const TROUBLE: &str = "trouble ";

pub(crate) const CONSUMER: &str = "billing";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) database: String,
    pub(crate) subscription: String,
    /// Orders that are handled at once.
    pub(crate) concurrency: usize,
    /// The process is killed after so many commits, before the handler of the last one returns.
    pub(crate) dies_after: Option<u32>,
}

struct Billing {
    inbox: PostgresInbox,
    pool: PgPool,
    worker: i32,
    commits: AtomicU32,
    dies_after: Option<u32>,
}

/// A process that other tests start; it runs until it is told to end, or dies.
#[ignore = "a process that the other tests start by its name"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    let mut told = signal(SignalKind::terminate()).unwrap();
    say(READY);
    let billing = Billing {
        inbox: PostgresInbox::new(CONSUMER).unwrap(),
        pool: PgPoolOptions::new().max_connections(6).connect_lazy(&settings.database).unwrap(),
        worker: i32::try_from(std::process::id()).unwrap(),
        commits: AtomicU32::new(0),
        dies_after: settings.dies_after,
    };
    let subscription = connect_subscription(&settings.subscription).await.unwrap();
    let store = PostgresStore::from_url(&settings.database).unwrap();
    let consumer = Consumer::new(ConsumerName::new(CONSUMER).unwrap(), subscription, handler(billing, bill))
        .inbox(Arc::new(store))
        .configure(|config| hasty(config, settings.concurrency))
        .start()
        .unwrap();
    told.recv().await;
    match consumer.shutdown().await {
        Ok(stats) => say(&format!("{STATS}{}", serde_json::to_string(&stats).unwrap())),
        Err(error) => say(&format!("{TROUBLE}{error}")),
    }
}

fn hasty(config: &mut ConsumerConfig, concurrency: usize) {
    config.concurrency = concurrency;
    config.retry.schedule = vec![Duration::from_millis(50), Duration::from_millis(200)];
    config.busy_pause = Duration::from_millis(100);
}

#[expect(clippy::print_stdout, reason = "whoever started the worker reads it")]
fn say(line: &str) {
    // The harness has not ended its line.
    println!("\n{line}");
}

async fn bill(billing: &Billing, message: &OutboxMessage) -> Result<Processed, HandlerError> {
    let order: Order = serde_json::from_slice(message.payload())?;
    let call = billing.call(order.number).await?;
    match order.fate {
        Fate::Fails(times) if call <= times => Err("the printer is on fire")?,
        Fate::Panics => panic!("out of ink"),
        _ => {}
    }
    let processed = billing.inbox.process(&billing.pool, message, async |tx| {
        let effect = "INSERT INTO effects (number, key, worker) VALUES ($1, $2, $3)";
        let effect = sqlx::query(effect).bind(order.number).bind(&order.key).bind(billing.worker);
        effect.execute(&mut **tx).await?;
        match order.fate {
            Fate::Takes(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Fate::Aborts => die(),
            _ => {}
        }
        // Last, because everybody waits for this row.
        sqlx::query("UPDATE totals SET effects = effects + 1").execute(&mut **tx).await?;
        Ok::<_, TransactionError>(())
    });
    let processed = processed.await?;
    if processed == Processed::Applied(()) {
        let commits = billing.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if billing.dies_after == Some(commits) {
            die();
        }
    }
    Ok(processed)
}

impl Billing {
    /// Takes down that the handler was called, and says how often it was by now.
    async fn call(&self, number: i32) -> sqlx::Result<i64> {
        let sql = "INSERT INTO calls (number, worker) VALUES ($1, $2)
                   RETURNING (SELECT count(*) FROM calls WHERE number = $1) + 1";
        sqlx::query_scalar(sql).bind(number).bind(self.worker).fetch_one(&self.pool).await
    }
}

/// As the kernel would do it that has run out of memory: nothing is dropped, closed or sent.
fn die() {
    let process = std::process::id().to_string();
    // By the program of that name, because sending a signal is not something that safe code can do itself.
    let status = std::process::Command::new("kill").args(["-KILL", &process]).status();
    unreachable!("it was killed: {status:?}");
}
