use anyhow::Result;
use sqlx::mysql::MySqlConnection;

use super::Bare;
use super::row::{Row, Time};

/// Told which index to use: left to itself, the optimizer may read a small table whole.
const CLAIM: &str = "
    select seq, id, topic, ordering_key, event_type, schema_version, aggregate_type, aggregate_id, correlation_id,
        content_type, headers, payload, created_at, available_at, max_attempts
    from outbox_messages force index (primary) where seq > ? order by seq limit 1000";

/// For a range without a gap this is the quickest; a list would have to go through `json_table`, which costs more.
const DELETE: &str = "delete from outbox_messages where seq between ? and ?";

impl Bare for MySqlConnection {
    async fn claim(&mut self, after: i64) -> Result<Vec<Row>> {
        let claim = sqlx::query(CLAIM).bind(after).try_map(|row| Row::decode(row, Time::Date));
        Ok(claim.fetch_all(self).await?)
    }

    async fn delete(&mut self, low: i64, high: i64) -> Result<u64> {
        Ok(sqlx::query(DELETE).bind(low).bind(high).execute(self).await?.rows_affected())
    }
}
