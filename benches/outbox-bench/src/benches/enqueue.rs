//! What a message costs in the transaction that it is written in (PostgreSQL).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use outbox_core::OutboxMessage;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinSet;

use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, NAME as SCHEMA};
use crate::orm::{Beside, Diesel, DieselAsync, Orm, SeaOrm, Sqlx};
use crate::report::{Measurement, Report, progress};
use crate::workload::Workload;

pub(crate) const NAME: &str = "enqueue";

const WORKERS: i64 = 8;

/// Each ORM: nothing beside the update, an insert by hand, ours; in turn, and the best round of each counts.
pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    let orms: [&'static dyn Orm; 4] = [&Sqlx, &Diesel, &DieselAsync, &SeaOrm];
    let (rounds, round) = if workload.is_quick() { (1, 200) } else { (workload.rounds.max(3), 3_000) };
    let round = Duration::from_millis(round);
    let database = PostgresDatabase::fresh().await?;
    let url = database.url().to_owned();
    let mut connection = database.foreign_connection().await?;
    create(&mut connection).await?;
    for orm in orms {
        progress(format_args!("{}: {NAME}", orm.name()));
        let mut best = [0.0_f64; 3];
        for _ in 0..rounds {
            for (index, beside) in [Beside::Nothing, Beside::ByHand, Beside::Outbox].into_iter().enumerate() {
                let truncate = format!("TRUNCATE {SCHEMA}.outbox_messages; CHECKPOINT");
                sqlx::raw_sql(AssertSqlSafe(truncate)).execute(&mut connection).await?;
                let rate = measure(orm, &url, beside, round).await.context(orm.name())?;
                best[index] = best[index].max(rate);
            }
        }
        let [nothing, by_hand, ours] = best;
        for (variant, raw) in [("an INSERT by hand", by_hand), ("no outbox at all", nothing)] {
            report.push(Measurement {
                bench: NAME,
                store: PostgresDatabase::NAME,
                orm: orm.name(),
                transport: "none",
                variant: format!("{WORKERS} workers, beside {variant}"),
                ours: Some(ours),
                raw: Some(raw),
                unit: "tx/s",
            });
        }
    }
    connection.close().await?;
    database.remove().await
}

/// Transactions per second of all workers.
async fn measure(orm: &'static dyn Orm, url: &str, beside: Beside, round: Duration) -> Result<f64> {
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(orm.worker(url).await?);
    }
    let message = OutboxMessage::bytes("bench.orders", vec![b'x'; 200])?
        .ordering_key("order-7")
        .event_type("OrderPlaced")
        .build()?;
    // Statements are prepared, and every thread is there.
    for worker in &mut workers {
        worker.transaction(1, &message, beside).await?;
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (worker, account) in workers.into_iter().zip(1..) {
        let message = message.clone();
        tasks.spawn(async move {
            let mut worker = worker;
            let mut done = 0_u32;
            while started.elapsed() < round {
                worker.transaction(account, &message, beside).await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(ended) = tasks.join_next().await {
        done += ended??;
    }
    Ok(f64::from(done) / started.elapsed().as_secs_f64())
}

/// A row for each worker: they are not to wait for each other.
async fn create(connection: &mut PgConnection) -> Result<()> {
    let create = format!(
        "CREATE TABLE {SCHEMA}.accounts (id bigint PRIMARY KEY, version bigint NOT NULL);
         INSERT INTO {SCHEMA}.accounts SELECT n, 0 FROM generate_series(1, {WORKERS}) AS n"
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(connection).await?;
    Ok(())
}
