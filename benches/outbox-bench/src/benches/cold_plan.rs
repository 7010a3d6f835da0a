//! Whether a relay that waited for a long time is slow when a backlog comes: plans that PostgreSQL made while the table
//! was empty read all of it for each batch, unless the relay forbids that.

use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::{Connection, Executor};

use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, fill, write};
use crate::ours::{Order, Ours};
use crate::report::{Measurement, Report, progress, rate};
use crate::workload::Workload;

pub(crate) const NAME: &str = "cold-plan";

/// What the statistics say about the table when the statements are planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statistics {
    /// That it is empty.
    Cold,
    /// That it is full.
    Warm,
}

/// There is no bare loop: the relay is compared with itself.
pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    progress(format_args!("{}: {NAME}", PostgresDatabase::NAME));
    let messages = workload.messages;
    let (mut cold, mut warm) = (Duration::MAX, Duration::MAX);
    for _ in 0..workload.rounds {
        cold = cold.min(drain(workload, Statistics::Cold).await?);
        warm = warm.min(drain(workload, Statistics::Warm).await?);
    }
    report.push(Measurement {
        bench: NAME,
        store: PostgresDatabase::NAME,
        orm: "sqlx",
        transport: "none",
        variant: format!("{messages} messages, planned on an empty table (raw: on a full one)"),
        ours: Some(rate(messages, cold)),
        raw: Some(rate(messages, warm)),
        unit: "msg/s",
    });
    Ok(())
}

/// From the commit of a backlog to the end of its last settle, with a relay that runs already.
async fn drain(workload: &Workload, statistics: Statistics) -> Result<Duration> {
    let mut database = PostgresDatabase::fresh().await?;
    let mut ours = Ours::start(database.store()?, Order::Pipelined).await?;
    deliver_some(&mut database, &mut ours, workload, 0).await?;
    database.connection().execute("ANALYZE outbox_messages").await?;
    // Statistics make the server plan anew at the next use, so each statement must be used once more while the table is
    // as they say.
    deliver_some(&mut database, &mut ours, workload, SOME).await?;
    ours.reads(3).await?;

    let mut transaction = database.connection().begin().await?;
    write::<PostgresDatabase>(&mut transaction, workload, workload.messages).await?;
    if statistics == Statistics::Warm {
        transaction.execute("ANALYZE outbox_messages").await?;
    }
    transaction.commit().await?;
    let start = Instant::now();
    ours.wake();
    ours.settled(2 * SOME + workload.messages).await?;
    let time = start.elapsed();
    ours.stop().await?;
    database.remove().await?;
    Ok(time)
}

/// Messages that [`deliver_some`] delivers.
const SOME: u32 = 4;

/// Has every statement used that a backlog needs: two rows side by side are deleted as a range, two with a gap between
/// them as a list.
async fn deliver_some(
    database: &mut PostgresDatabase,
    ours: &mut Ours,
    workload: &Workload,
    before: u32,
) -> Result<()> {
    fill(database, workload, 2).await?;
    ours.wake();
    ours.settled(before + 2).await?;

    let connection = database.connection();
    let mut transaction = connection.begin().await?;
    write::<PostgresDatabase>(&mut transaction, workload, 1).await?;
    transaction.execute("SELECT nextval(pg_get_serial_sequence('outbox_messages', 'seq'))").await?;
    write::<PostgresDatabase>(&mut transaction, workload, 1).await?;
    transaction.commit().await?;
    ours.wake();
    ours.settled(before + SOME).await
}
