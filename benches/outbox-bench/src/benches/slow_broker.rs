//! How fast a backlog goes to a broker that needs 2 ms to confirm: what of that time the relay fills with other messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, fill_with};
use crate::ours::{Order, Ours, Slow};
use crate::raw;
use crate::report::{Measurement, Report, progress, rate};
use crate::workload::{Keys, Shape, Workload};

pub(crate) const NAME: &str = "slow-broker";

/// What it takes until messages are confirmed.
const PAUSE: Duration = Duration::from_millis(2);

/// Messages under way at most: as many as our transports allow, roughly.
const WINDOW: usize = 1_000;

/// A case: how messages are ordered, and what the broker promises.
const CASES: [(Keys, Order); 4] = [
    (Keys::None, Order::OnePerKey),
    (Keys::Many, Order::OnePerKey),
    (Keys::One, Order::OnePerKey),
    (Keys::One, Order::Pipelined),
];

pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    for (keys, order) in CASES {
        progress(format_args!("{}: {NAME}, {}, {}", PostgresDatabase::NAME, keys.name(), order.name()));
        // One at a time they take 2 ms each.
        let singly = keys == Keys::One && order == Order::OnePerKey;
        let messages = if singly { workload.messages / 200 } else { workload.messages };
        let (mut ours, mut bare) = (Duration::MAX, Duration::MAX);
        for _ in 0..if singly { 1 } else { workload.rounds } {
            ours = ours.min(with_relay(messages, keys, order).await?);
            bare = bare.min(by_hand(messages, keys).await?);
        }
        report.push(Measurement {
            bench: NAME,
            store: PostgresDatabase::NAME,
            orm: "sqlx",
            transport: "2 ms",
            variant: format!("{messages} messages, {}, {}", keys.name(), order.name()),
            ours: Some(rate(messages, ours)),
            raw: Some(rate(messages, bare)),
            unit: "msg/s",
        });
    }
    Ok(())
}

async fn with_relay(messages: u32, keys: Keys, order: Order) -> Result<Duration> {
    let database = filled(messages, keys).await?;
    let slow = Slow::new(PAUSE, WINDOW);
    let transport = if order == Order::Pipelined { slow.pipelined() } else { slow };
    let started = Instant::now();
    let mut ours = Ours::to(database.store()?, Arc::new(transport)).await?;
    ours.settled(messages).await?;
    let time = started.elapsed();
    ours.stop().await?;
    database.remove().await?;
    Ok(time)
}

/// One batch after the other, each confirmed as a whole, in no order.
async fn by_hand(messages: u32, keys: Keys) -> Result<Duration> {
    let mut database = filled(messages, keys).await?;
    let time = raw::drain_slowly(database.connection(), messages, PAUSE).await?;
    database.remove().await?;
    Ok(time)
}

async fn filled(messages: u32, keys: Keys) -> Result<PostgresDatabase> {
    let mut database = PostgresDatabase::fresh().await?;
    fill_with(&mut database, Shape::to("bench.orders", keys), messages).await?;
    database.checkpoint().await?;
    Ok(database)
}
