//! Whether several relays do more than one, when what they wait for is the broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use outbox_relay::RelayConfig;
use tokio::time::timeout;

use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, fill_with};
use crate::ours::{Ours, Slow, Tally};
use crate::plot::{Line, Plot};
use crate::report::{Measurement, Report, progress, rate};
use crate::workload::{Keys, Shape, Workload};

pub(crate) const NAME: &str = "scale";

/// What it takes until messages are confirmed.
const PAUSE: Duration = Duration::from_millis(10);

/// Messages under way at most, for each relay. One alone can't do more than 20,000 in a second then.
const WINDOW: usize = 200;

const RELAYS: [u32; 3] = [1, 2, 4];

/// There is no bare loop: several relays are compared with one.
pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    let messages = workload.messages / 2;
    let mut speeds = Vec::new();
    for relays in RELAYS {
        progress(format_args!("{}: {NAME}, {relays} relays", PostgresDatabase::NAME));
        let mut best = Duration::MAX;
        for _ in 0..if workload.is_quick() { 1 } else { 3 } {
            best = best.min(drain(relays, messages).await?);
        }
        let speed = rate(messages, best);
        speeds.push((f64::from(relays), speed));
        report.push(Measurement {
            bench: NAME,
            store: PostgresDatabase::NAME,
            orm: "sqlx",
            transport: "10 ms",
            variant: format!("{relays} relays, {WINDOW} messages under way each (raw: one relay)"),
            ours: Some(speed),
            raw: speeds.first().map(|(_, speed)| *speed),
            unit: "msg/s",
        });
    }
    report.plot(Plot {
        name: NAME,
        title: "Relays to a broker that confirms after 10 ms".to_owned(),
        across: "relays",
        up: "msg/s",
        lines: vec![Line { name: "together".to_owned(), points: speeds }],
        logarithmic: false,
    });
    Ok(())
}

/// From the commit of a backlog to the end of its last settle, with relays that have shared the shards already.
async fn drain(relays: u32, messages: u32) -> Result<Duration> {
    let mut database = PostgresDatabase::fresh().await?;
    let settled = Tally::default();
    let mut fleet = Vec::new();
    for _ in 0..relays {
        let slow = Slow::new(PAUSE, WINDOW).max_send_time(Duration::from_millis(500));
        fleet.push(Ours::among(Arc::new(database.store()?), Arc::new(slow), hasty(), settled.clone()).await?);
    }
    shared(&fleet).await?;
    fill_with(&mut database, Shape::to("bench.orders", Keys::Many), messages).await?;
    let started = Instant::now();
    fleet.iter().for_each(Ours::wake);
    settled.reaches(messages.into(), Duration::from_secs(60)).await?;
    let time = started.elapsed();
    for ours in fleet {
        ours.stop().await?;
    }
    database.remove().await?;
    Ok(time)
}

/// With short leases, so that the relays have shared the shards soon. It makes no difference to what is measured.
fn hasty() -> RelayConfig {
    let mut config = RelayConfig::default();
    config.lease_ttl = Duration::from_secs(6);
    config.lease_margin = Duration::from_secs(1);
    config.publish_timeout = Duration::from_secs(2);
    config
}

/// Waits until each owns as many shards as the others.
async fn shared(fleet: &[Ours]) -> Result<()> {
    let even = || {
        let shards: Vec<usize> = fleet.iter().map(Ours::shards).collect();
        shards[0] > 0 && shards.iter().all(|shard| *shard == shards[0])
    };
    let waiting = async {
        while !even() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.context("the relays do not share the shards")
}
