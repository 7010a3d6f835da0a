//! The loop that one would write by hand: woken after each commit of its process, it reads what is there, hands it over
//! and deletes it. No leases, no order by key, no retries; and it reads from the start, because by a cursor it would lose
//! what is committed late.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime;
use tokio::sync::{Notify, mpsc};

use super::clock::now;
use super::cpu::Threads;
use super::producers::Producers;
use super::samples::Figures;
use super::scenario::{arrived, figures};
use super::stamped::Arrival;
use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, NAME as SCHEMA};

pub(super) async fn measure(rate: u32, length: Duration) -> Result<Figures> {
    let database = PostgresDatabase::fresh().await?;
    let threads = Threads::begun_from_now_on()?;
    let wake = Arc::new(Notify::new());
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let connection = database.foreign_connection().await?;
    // As the relay has one, so that its share of a core can be told.
    let own =
        runtime::Builder::new_multi_thread().worker_threads(2).thread_name("bare").enable_all().build()?;
    let looping = own.spawn(drain(connection, Arc::clone(&wake), sender));
    let after_commit = Arc::new(move || wake.notify_one());
    let producers =
        Producers::connect(database.url(), "bench".to_owned(), |writer| writer, after_commit).await?;
    let measured =
        figures(producers, rate, length, &threads, async |count| arrived(&mut receiver, count).await);
    let measured = measured.await;
    looping.abort();
    own.shutdown_background();
    database.remove().await?;
    measured
}

async fn drain(
    mut connection: PgConnection,
    wake: Arc<Notify>,
    arrived: mpsc::UnboundedSender<Vec<Arrival>>,
) -> Result<()> {
    let claim = format!("SELECT seq, payload FROM {SCHEMA}.outbox_messages ORDER BY seq LIMIT 1000");
    let delete = format!("DELETE FROM {SCHEMA}.outbox_messages WHERE seq = ANY ($1)");
    loop {
        let rows: Vec<(i64, Vec<u8>)> =
            sqlx::query_as(AssertSqlSafe(claim.clone())).fetch_all(&mut connection).await?;
        if rows.is_empty() {
            wake.notified().await;
            continue;
        }
        let at = now();
        let number = |payload: &[u8]| payload.get(..4).and_then(|bytes| bytes.try_into().ok());
        let number = |payload: &[u8]| number(payload).map_or(u32::MAX, u32::from_le_bytes);
        let arrivals = rows.iter().map(|(_, payload)| Arrival { number: number(payload), at });
        if arrived.send(arrivals.collect()).is_err() {
            return Ok(connection.close().await?);
        }
        let seqs: Vec<i64> = rows.iter().map(|(seq, _)| *seq).collect();
        sqlx::query(AssertSqlSafe(delete.clone())).bind(seqs).execute(&mut connection).await?;
    }
}
