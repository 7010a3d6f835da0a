//! How fast a backlog goes, when the broker takes no time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, fill};
use crate::orm::{Diesel, DieselAsync, Orm, SeaOrm};
use crate::ours::{Order, Ours};
use crate::raw::{self, From};
use crate::report::{Measurement, Report, progress, rate};
use crate::workload::Workload;

pub(crate) const NAME: &str = "drain";

const ORDERS: [Order; 2] = [Order::Pipelined, Order::OnePerKey];

/// Alternates, so that whatever else the machine does at a time meets all of them.
pub(crate) async fn run<D: Database>(workload: &Workload, report: &mut Report) -> Result<()> {
    let messages = workload.messages;
    let (mut ours, mut bare) = ([Duration::MAX; 2], Duration::MAX);
    for _ in 0..workload.rounds {
        for (order, best) in ORDERS.into_iter().zip(&mut ours) {
            *best = (*best).min(drain_with_relay::<D>(workload, order).await?);
        }
        bare = bare.min(drain_bare::<D>(workload).await?);
    }
    for (order, time) in ORDERS.into_iter().zip(ours) {
        report.push(Measurement {
            bench: NAME,
            store: D::NAME,
            orm: "sqlx",
            transport: "none",
            variant: format!("{messages} messages, {}", order.name()),
            ours: Some(rate(messages, time)),
            raw: Some(rate(messages, bare)),
            unit: "msg/s",
        });
    }
    Ok(())
}

/// From before the start of the relay, so with its connections, its leases and its first look, to the end of the last
/// settle.
async fn drain_with_relay<D: Database>(workload: &Workload, order: Order) -> Result<Duration> {
    let database = filled::<D>(workload).await?;
    let store = database.store()?;
    let start = Instant::now();
    let mut ours = Ours::start(store, order).await?;
    ours.settled(workload.messages).await?;
    let time = start.elapsed();
    ours.stop().await?;
    database.remove().await?;
    Ok(time)
}

async fn drain_bare<D: Database>(workload: &Workload) -> Result<Duration> {
    let mut database = filled::<D>(workload).await?;
    let time = raw::drain(database.connection(), workload.messages, From::Cursor).await?;
    database.remove().await?;
    Ok(time)
}

/// The same with each other ORM on PostgreSQL, beside a bare loop with the same.
pub(crate) async fn orms(workload: &Workload, report: &mut Report) -> Result<()> {
    let orms: [&'static dyn Orm; 3] = [&Diesel, &DieselAsync, &SeaOrm];
    let messages = workload.messages;
    for orm in orms {
        progress(format_args!("{}: {NAME}, {}", PostgresDatabase::NAME, orm.name()));
        let (mut ours, mut bare) = (Duration::MAX, Duration::MAX);
        for _ in 0..workload.rounds {
            ours = ours.min(with_orm(orm, workload).await.context(orm.name())?);
            bare = bare.min(bare_with_orm(orm, workload).await.context(orm.name())?);
        }
        report.push(Measurement {
            bench: NAME,
            store: PostgresDatabase::NAME,
            orm: orm.name(),
            transport: "none",
            variant: format!("{messages} messages, {}", Order::Pipelined.name()),
            ours: Some(rate(messages, ours)),
            raw: Some(rate(messages, bare)),
            unit: "msg/s",
        });
    }
    Ok(())
}

async fn with_orm(orm: &dyn Orm, workload: &Workload) -> Result<Duration> {
    let database = filled::<PostgresDatabase>(workload).await?;
    let store = orm.store(database.url())?;
    let start = Instant::now();
    let mut ours = Ours::on(store, Order::Pipelined).await?;
    ours.settled(workload.messages).await?;
    let time = start.elapsed();
    ours.stop().await?;
    database.remove().await?;
    Ok(time)
}

async fn bare_with_orm(orm: &dyn Orm, workload: &Workload) -> Result<Duration> {
    let database = filled::<PostgresDatabase>(workload).await?;
    let mut bare = orm.bare(database.url()).await?;
    let start = Instant::now();
    bare.drain(workload.messages).await?;
    let time = start.elapsed();
    drop(bare);
    database.remove().await?;
    Ok(time)
}

async fn filled<D: Database>(workload: &Workload) -> Result<D> {
    let mut database = D::fresh().await?;
    fill(&mut database, workload, workload.messages).await?;
    database.checkpoint().await?;
    Ok(database)
}
