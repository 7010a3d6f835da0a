use anyhow::Result;
use outbox_sql::Dialect;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};

use super::row::{CLAIM, DELETE, Row};
use super::{Bare, drain as drain_once, tables};
use crate::workload::{KEYS, Workload, payload};

/// A schema of its own, so that nothing of the user's is in the way.
const CREATE: &str = "drop schema if exists outbox_bench_raw cascade; create schema outbox_bench_raw";

const FILL: &str = "
    insert into outbox_messages (id, topic, ordering_key, event_type, payload)
    select gen_random_uuid(), 'bench.orders', 'order-' || (i % $2), 'OrderPlaced', $3
    from generate_series(1, $1::bigint) as i";

/// Plans that stay right whatever the statistics say: those of a table that was empty a moment ago are always wrong.
const SESSION: [(&str, &str); 6] = [
    ("search_path", "outbox_bench_raw"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// Messages per second of the best round.
pub(crate) async fn drain(workload: &Workload) -> Result<f64> {
    let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
    let url = url.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned());
    let options = url.parse::<PgConnectOptions>()?.options(SESSION);
    let mut connection = PgConnection::connect_with(&options).await?;
    let mut best = f64::INFINITY;
    for _ in 0..workload.rounds {
        fill(&mut connection, workload).await?;
        let time = drain_once(&mut connection, workload.messages).await?;
        best = best.min(time.as_secs_f64());
    }
    connection.execute("drop schema outbox_bench_raw cascade").await?;
    Ok(workload.rate(best))
}

/// Fresh tables with all messages in them, committed.
async fn fill(connection: &mut PgConnection, workload: &Workload) -> Result<()> {
    connection.execute(CREATE).await?;
    connection.execute(tables(Dialect::Postgres)).await?;
    let fill = sqlx::query(FILL)
        .bind(i64::from(workload.messages))
        .bind(i64::from(KEYS));
    fill.bind(payload()).execute(&mut *connection).await?;
    // What the fill left to be written is not the drain's to pay.
    connection.execute("checkpoint").await?;
    Ok(())
}

impl Bare for PgConnection {
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
