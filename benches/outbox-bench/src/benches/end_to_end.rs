//! From PostgreSQL to a broker, beside the best loop that one could write by hand for both.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::sync::mpsc;

use crate::broker::{self, ALL, Broker, Carried, Page};
use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, fill_with, write_shape};
use crate::ours::Ours;
use crate::raw::{self, Bare as _, From};
use crate::report::{Measurement, Report, progress, rate};
use crate::workload::{Keys, Shape, Workload};

pub(crate) const NAME: &str = "end-to-end";

/// What our transports send unless they are told otherwise.
const CARRIED: Carried = Carried::CloudEvents;

/// All brokers whose name contains this.
pub(crate) async fn run(workload: &Workload, only: &str, report: &mut Report) -> Result<()> {
    for broker in ALL.into_iter().filter(|broker| broker.name().contains(only)) {
        let (rounds, messages) = match workload.is_quick() {
            true => (1, workload.messages / 4),
            false => (workload.rounds, workload.messages / 2),
        };
        progress(format_args!("{}: {NAME}", broker.name()));
        measure(broker, messages, Keys::Many, rounds, report).await.context(broker.name())?;
        let topic = broker.topic().await?;
        let pipelined = broker.transport(&topic, CARRIED).await?.capabilities().pipelined_order;
        broker.remove(&topic).await?;
        if pipelined {
            // Elsewhere a hot key has one message under way: what that gives is the broker's round trip.
            measure(broker, messages, Keys::One, rounds, report).await.context(broker.name())?;
        }
    }
    Ok(())
}

/// In turn; the best round of each counts.
async fn measure(
    broker: &dyn Broker,
    messages: u32,
    keys: Keys,
    rounds: u32,
    report: &mut Report,
) -> Result<()> {
    let [mut ours, mut both, mut database_alone, mut broker_alone] = [Duration::MAX; 4];
    for _ in 0..rounds {
        ours = ours.min(with_relay(broker, messages, keys).await?);
        both = both.min(by_hand(broker, messages, keys).await?);
        database_alone = database_alone.min(database_by_hand(messages, keys).await?);
        broker_alone = broker_alone.min(broker_by_hand(broker, messages, keys).await?);
    }
    let twins = [
        ("beside both by hand", both),
        ("beside the database alone", database_alone),
        ("beside the broker alone", broker_alone),
    ];
    for (beside, raw) in twins {
        report.push(Measurement {
            bench: NAME,
            store: PostgresDatabase::NAME,
            orm: "sqlx",
            transport: broker.name(),
            variant: format!("{messages} messages, {}, {beside}", keys.name()),
            ours: Some(rate(messages, ours)),
            raw: Some(rate(messages, raw)),
            unit: "msg/s",
        });
    }
    Ok(())
}

/// From the commit of the backlog to the end of the last settle. The relay is at work by then, and the transport is
/// connected, as the connections of the loops by hand are.
async fn with_relay(broker: &dyn Broker, messages: u32, keys: Keys) -> Result<Duration> {
    let topic = broker.topic().await?;
    let mut database = PostgresDatabase::fresh().await?;
    let transport = broker.transport(&topic, CARRIED).await?;
    for first in first(&topic, keys)? {
        ensure!(transport.publish(&[first]).await.iter().all(Result::is_ok), "the first message");
    }
    let mut ours = Ours::to(database.store()?, transport).await?;
    ours.at_work().await?;
    let mut another = database.another_connection().await?;
    let mut transaction = database.connection().begin().await?;
    write_shape::<PostgresDatabase>(&mut transaction, Shape::to(&topic, keys), messages).await?;
    another.execute("CHECKPOINT").await?;
    transaction.commit().await?;
    let started = Instant::now();
    ours.wake();
    ours.settled(messages).await?;
    let time = started.elapsed();
    ours.stop().await?;
    database.remove().await?;
    broker.remove(&topic).await?;
    Ok(time)
}

/// One task reads forward on a connection, one publishes with as many messages under way as ours, one deletes on another
/// connection what is confirmed. No order, no fence, no retries.
async fn by_hand(broker: &dyn Broker, messages: u32, keys: Keys) -> Result<Duration> {
    let topic = broker.topic().await?;
    let database = filled(&topic, keys, messages).await?;
    let reading = database.another_connection().await?;
    let mut deleting = database.another_connection().await?;
    let window = broker.transport(&topic, CARRIED).await?.capabilities().max_in_flight;
    let mut bare = broker.bare(&topic, window, CARRIED).await?;
    broker::all(&mut *bare, vec![Page::of_messages(&first(&topic, keys)?)]).await?;

    let started = Instant::now();
    let (sender, pages) = mpsc::channel(2);
    let (done, mut confirmed) = mpsc::unbounded_channel();
    let reading = tokio::spawn(read(reading, messages, sender));
    let publishing = tokio::spawn(async move { bare.publish(pages, done).await });
    let mut drained = 0;
    while let Some((low, high)) = confirmed.recv().await {
        drained += deleting.delete(low, high).await?;
    }
    let time = started.elapsed();
    reading.await??;
    publishing.await??;
    ensure!(drained == u64::from(messages), "{drained} of {messages} messages were drained");
    database.remove().await?;
    broker.remove(&topic).await?;
    Ok(time)
}

async fn read(mut connection: PgConnection, messages: u32, pages: mpsc::Sender<Page>) -> Result<()> {
    let (mut cursor, mut read) = (0, 0);
    while read < usize::try_from(messages)? {
        let rows = connection.claim(cursor).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { break };
        ensure!(usize::try_from(last.seq - first.seq + 1)? == rows.len(), "the rows are not contiguous");
        cursor = last.seq;
        read += rows.len();
        if let Some(page) = Page::of_rows(rows) {
            pages.send(page).await?;
        }
    }
    Ok(())
}

async fn database_by_hand(messages: u32, keys: Keys) -> Result<Duration> {
    let mut database = filled("bench", keys, messages).await?;
    let time = raw::drain(database.connection(), messages, From::Cursor).await?;
    database.remove().await?;
    Ok(time)
}

async fn broker_by_hand(broker: &dyn Broker, messages: u32, keys: Keys) -> Result<Duration> {
    let topic = broker.topic().await?;
    let window = broker.transport(&topic, CARRIED).await?.capabilities().max_in_flight;
    let mut bare = broker.bare(&topic, window, CARRIED).await?;
    let parts: Vec<_> = Shape::to(&topic, keys).parts(messages).collect::<Result<_>>()?;
    let time = broker::raw(&mut *bare, &parts.concat()).await?;
    broker.remove(&topic).await?;
    Ok(time)
}

/// What makes the connections, before the clock starts.
fn first(topic: &str, keys: Keys) -> Result<Vec<outbox_core::OutboxMessage>> {
    Shape::to(topic, keys).parts(1).next().unwrap_or_else(|| Ok(Vec::new()))
}

async fn filled(topic: &str, keys: Keys, messages: u32) -> Result<PostgresDatabase> {
    let mut database = PostgresDatabase::fresh().await?;
    fill_with(&mut database, Shape::to(topic, keys), messages).await?;
    database.checkpoint().await?;
    Ok(database)
}
