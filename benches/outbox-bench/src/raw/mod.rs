//! What a good programmer would write by hand and for one database only: read forward in whole rows, delete the range,
//! on one connection, with no fence, no order per key, no retry. Nothing can be faster that does the same work through
//! the same client, one step after the other, and the distance to it is what the outbox costs.

mod mysql;
mod postgres;
mod row;
mod sqlite;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::workload::BATCH;

pub(crate) use row::Row;

/// Reads and deletes by hand.
pub(crate) trait Bare {
    /// The next rows after a `seq`, by `seq`, at most [`BATCH`].
    async fn claim(&mut self, after: i64) -> Result<Vec<Row>>;

    /// Deletes the rows from one `seq` to another, and returns how many there were.
    async fn delete(&mut self, low: i64, high: i64) -> Result<u64>;
}

/// Where each claim begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// Behind the row that was read last.
    Cursor,
    /// At the start of the table, where deleted rows may still lie.
    Start,
}

/// Empties the table of its messages.
pub(crate) async fn drain(connection: &mut impl Bare, messages: u32, from: From) -> Result<Duration> {
    drain_to(connection, messages, from, Duration::ZERO).await
}

/// The same to a broker that needs this long to confirm a batch.
pub(crate) async fn drain_slowly(
    connection: &mut impl Bare,
    messages: u32,
    pause: Duration,
) -> Result<Duration> {
    drain_to(connection, messages, From::Cursor, pause).await
}

async fn drain_to(
    connection: &mut impl Bare,
    messages: u32,
    from: From,
    pause: Duration,
) -> Result<Duration> {
    let start = Instant::now();
    let (mut cursor, mut drained) = (0, 0);
    while drained < u64::from(messages) {
        let rows = connection.claim(cursor).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            break;
        };
        // Only a range without a gap may go as a range: a row that commits late into the gap was not read.
        ensure!(usize::try_from(last.seq - first.seq + 1)? == rows.len(), "the rows are not contiguous");
        ensure!(rows.len() <= BATCH, "{} rows in one claim", rows.len());
        if from == From::Cursor {
            cursor = last.seq;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        drained += connection.delete(first.seq, last.seq).await?;
        // Handing the rows over is not measured, but they must have been read for real.
        std::hint::black_box(rows);
    }
    ensure!(drained == u64::from(messages), "{drained} of {messages} messages were drained");
    Ok(start.elapsed())
}
