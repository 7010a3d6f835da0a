use anyhow::Result;
use outbox::relay::{Publisher, SinkError, sink};
use outbox::sqlx::PostgresWriter;
use outbox::{Config, OutboxHandle, OutboxMessage};
use sqlx::PgPool;

/// What publishes scans, and stores those that Kafka can't take now. Which of the two it is is a matter of the
/// configuration (`OUTBOX_MODE`), and whether this process relays, too (`OUTBOX_PROCESSOR_ENABLED`).
///
/// # Errors
///
/// If the configuration does not suit, or this process is to relay and the database was not migrated. Neither a Kafka
/// nor a Redis that is away is an error.
pub async fn start(config: &Config, pool: &PgPool) -> Result<(OutboxHandle, Publisher)> {
    Ok(config.outbox().start_with_publisher(sink(pool.clone(), write)).await?)
}

async fn write(pool: &PgPool, messages: &[OutboxMessage]) -> Result<(), SinkError> {
    let mut tx = pool.begin().await?;
    PostgresWriter::new().enqueue_all(&mut tx, messages).await?;
    tx.commit().await?;
    Ok(())
}
