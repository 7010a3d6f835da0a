//! Whether a forgotten session makes the relay slow: while somebody holds an old snapshot, PostgreSQL can't clean up
//! after deletes, and whoever reads from the start of the table reads all that was ever in it.

use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, fill};
use crate::ours::{Order, Ours};
use crate::plot::{Line, Plot};
use crate::raw::{self, From};
use crate::report::{Measurement, Report, progress, rate};
use crate::workload::Workload;

pub(crate) const NAME: &str = "held-snapshot";

/// The bare loop of this bench reads from the start of the table each time, as most do.
pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    progress(format_args!("{}: {NAME}", PostgresDatabase::NAME));
    let ours = with_relay(workload).await?;
    let bare = bare(workload).await?;
    let Workload { bursts, burst, .. } = *workload;
    let line = |name: &str, speeds: &[f64]| Line {
        name: name.to_owned(),
        points: (1_u32..).map(f64::from).zip(speeds.iter().copied()).collect(),
    };
    report.plot(Plot {
        name: NAME,
        title: "Bursts while another session holds an old snapshot".to_owned(),
        across: "burst",
        up: "msg/s",
        lines: vec![line("ours", &ours), line("raw, from the start of the table", &bare)],
        logarithmic: false,
    });
    let mut push = |variant: String, [ours, raw]: [f64; 2], unit| {
        report.push(Measurement {
            bench: NAME,
            store: PostgresDatabase::NAME,
            orm: "sqlx",
            transport: "none",
            variant,
            ours: Some(ours),
            raw: Some(raw),
            unit,
        });
    };
    let speeds = |place: fn(&[f64]) -> f64| [place(&ours), place(&bare)];
    let [first, last] = [speeds(|all| all[0]), speeds(|all| all[all.len() - 1])];
    push(format!("burst 1 of {bursts}, {burst} messages each"), first, "msg/s");
    push(format!("burst {bursts} of {bursts}"), last, "msg/s");
    push("last against first".to_owned(), [last[0] / first[0], last[1] / first[1]], "of 1");
    Ok(())
}

/// Messages per second, burst by burst, from the commit to the end of the last settle.
async fn with_relay(workload: &Workload) -> Result<Vec<f64>> {
    let mut database = PostgresDatabase::fresh().await?;
    let mut ours = Ours::start(database.store()?, Order::Pipelined).await?;
    // Connections, leases and prepared statements are not what is compared.
    fill(&mut database, workload, WARM_UP).await?;
    ours.wake();
    ours.settled(WARM_UP).await?;
    let holder = hold(&database).await?;
    let mut speeds = Vec::new();
    for burst in 1..=workload.bursts {
        fill(&mut database, workload, workload.burst).await?;
        let start = Instant::now();
        ours.wake();
        ours.settled(WARM_UP + burst * workload.burst).await?;
        speeds.push(rate(workload.burst, start.elapsed()));
        pause().await;
    }
    holder.close().await?;
    ours.stop().await?;
    database.remove().await?;
    Ok(speeds)
}

async fn bare(workload: &Workload) -> Result<Vec<f64>> {
    let mut database = PostgresDatabase::fresh().await?;
    fill(&mut database, workload, WARM_UP).await?;
    raw::drain(database.connection(), WARM_UP, From::Start).await?;
    let holder = hold(&database).await?;
    let mut speeds = Vec::new();
    for _ in 0..workload.bursts {
        fill(&mut database, workload, workload.burst).await?;
        let time = raw::drain(database.connection(), workload.burst, From::Start).await?;
        speeds.push(rate(workload.burst, time));
        pause().await;
    }
    holder.close().await?;
    database.remove().await?;
    Ok(speeds)
}

const WARM_UP: u32 = 1_000;

/// Between two bursts the relay looks for late commits, which takes longer the more it does not know about.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// A session that has begun to write and then does nothing.
async fn hold(database: &PostgresDatabase) -> Result<PgConnection> {
    let mut holder = database.foreign_connection().await?;
    holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    holder.execute("SELECT pg_current_xact_id(), count(*) FROM outbox_shards").await?;
    Ok(holder)
}
