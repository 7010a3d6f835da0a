//! What a good programmer would write by hand and for one database only: read forward in whole rows, delete the range,
//! on one connection, with no fence, no order per key, no retry. Nothing can be faster that does the same work through
//! the same client, and the distance to it is what the outbox costs.

pub(crate) mod postgres;
pub(crate) mod row;
pub(crate) mod sqlite;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outbox_sql::{Dialect, Migrations, TableNames};
use sqlx::{AssertSqlSafe, RawSql, raw_sql};

use crate::workload::BATCH;
use row::Row;

/// A database with the tables of the outbox.
pub(crate) trait Bare {
    /// The next rows after a `seq`, by `seq`, at most [`BATCH`].
    async fn claim(&mut self, after: i64) -> Result<Vec<Row>>;

    /// Deletes the rows from one `seq` to another, and returns how many there were.
    async fn delete(&mut self, low: i64, high: i64) -> Result<u64>;
}

/// The real tables: a bare loop over simpler ones would be another comparison.
pub(crate) fn tables(dialect: Dialect) -> RawSql {
    let scripts = Migrations::rendered(dialect, &TableNames::default());
    let script: String = scripts.into_iter().map(|script| script.sql).collect();
    raw_sql(AssertSqlSafe(script))
}

/// Empties the table of its `messages` rows.
pub(crate) async fn drain(database: &mut impl Bare, messages: u32) -> Result<Duration> {
    let start = Instant::now();
    let (mut cursor, mut drained) = (0, 0);
    loop {
        let rows = database.claim(cursor).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            break;
        };
        // Only a range without a gap may go as a range: a row that commits late into the gap was not read.
        ensure!(
            usize::try_from(last.seq - first.seq + 1)? == rows.len(),
            "the rows are not contiguous"
        );
        cursor = last.seq;
        drained += database.delete(first.seq, last.seq).await?;
        let last_batch = rows.len() < BATCH;
        // Handing the rows over is not measured, but they must have been read for real.
        std::hint::black_box(rows);
        if last_batch {
            break;
        }
    }
    ensure!(
        drained == u64::from(messages),
        "{drained} of {messages} messages were drained"
    );
    Ok(start.elapsed())
}
