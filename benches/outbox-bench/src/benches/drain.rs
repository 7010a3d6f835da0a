//! How fast a backlog goes, when the broker takes no time.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::database::{Database, fill};
use crate::ours::{Order, Ours};
use crate::raw::{self, From};
use crate::report::{Measurement, Report, rate};
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

async fn filled<D: Database>(workload: &Workload) -> Result<D> {
    let mut database = D::fresh().await?;
    fill(&mut database, workload, workload.messages).await?;
    database.checkpoint().await?;
    Ok(database)
}
