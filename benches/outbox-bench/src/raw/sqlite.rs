use anyhow::Result;
use sqlx::sqlite::SqliteConnection;

use super::Bare;
use super::row::{CLAIM, DELETE, Row, Time};

impl Bare for SqliteConnection {
    async fn claim(&mut self, after: i64) -> Result<Vec<Row>> {
        let claim = sqlx::query(CLAIM).bind(after).try_map(|row| Row::decode(row, Time::Number));
        Ok(claim.fetch_all(self).await?)
    }

    async fn delete(&mut self, low: i64, high: i64) -> Result<u64> {
        Ok(sqlx::query(DELETE).bind(low).bind(high).execute(self).await?.rows_affected())
    }
}
