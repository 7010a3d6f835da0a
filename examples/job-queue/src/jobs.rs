use anyhow::Result;
use outbox::sqlx::SqliteWriter;
use sqlx::SqlitePool;

use crate::Resize;

/// Where jobs are ordered.
#[derive(Debug, Clone)]
pub struct Jobs {
    pool: SqlitePool,
    outbox: SqliteWriter,
}

impl Jobs {
    /// Jobs in this database.
    #[must_use]
    pub fn new(pool: &SqlitePool) -> Self {
        Self { pool: pool.clone(), outbox: SqliteWriter::new() }
    }

    /// Writes a job and its message in one transaction, and returns the number of the job. Redis is not asked: it may be
    /// away.
    ///
    /// # Errors
    ///
    /// The database's. Then there is neither a job nor a message.
    pub async fn order(&self, image: &str) -> Result<i64> {
        // IMMEDIATE: one that reads first and writes then would fail if another had written in between.
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let job = sqlx::query_scalar("INSERT INTO jobs (image) VALUES (?) RETURNING id")
            .bind(image)
            .fetch_one(&mut *tx)
            .await?;
        self.outbox.emit(&mut tx, &Resize { job, image: image.to_owned() }).await?;
        tx.commit().await?;
        Ok(job)
    }
}
