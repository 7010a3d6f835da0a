use anyhow::Result;
use outbox_sql::Dialect;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Executor};

use super::row::{CLAIM, DELETE, Row};
use super::{Bare, drain as drain_once, tables};
use crate::workload::{BATCH, KEYS, Workload, payload};

const FILL: &str = "
    with recursive numbers(i) as (select 1 union all select i + 1 from numbers where i < $1)
    insert into outbox_messages (id, topic, ordering_key, event_type, payload)
    select randomblob(16), 'bench.orders', 'order-' || (i % $2), 'OrderPlaced', $3 from numbers";

/// Messages per second of the best round.
pub(crate) async fn drain(workload: &Workload) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..workload.rounds {
        let folder = tempfile::tempdir()?;
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("outbox.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // A batch crosses from the client's thread in one go.
            .row_buffer_size(BATCH);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        fill(&mut connection, workload).await?;
        let time = drain_once(&mut connection, workload.messages).await?;
        best = best.min(time.as_secs_f64());
        connection.close().await?;
    }
    Ok(workload.rate(best))
}

/// New tables with all messages in them, committed.
async fn fill(connection: &mut SqliteConnection, workload: &Workload) -> Result<()> {
    connection.execute(tables(Dialect::Sqlite)).await?;
    let fill = sqlx::query(FILL)
        .bind(i64::from(workload.messages))
        .bind(i64::from(KEYS));
    fill.bind(payload()).execute(&mut *connection).await?;
    // What the fill left to be written is not the drain's to pay.
    connection.execute("pragma wal_checkpoint(truncate)").await?;
    Ok(())
}

impl Bare for SqliteConnection {
    async fn claim(&mut self, after: i64) -> Result<Vec<Row>> {
        Ok(sqlx::query(CLAIM)
            .bind(after)
            .try_map(Row::decode)
            .fetch_all(self)
            .await?)
    }

    async fn delete(&mut self, low: i64, high: i64) -> Result<u64> {
        Ok(sqlx::query(DELETE)
            .bind(low)
            .bind(high)
            .execute(self)
            .await?
            .rows_affected())
    }
}
