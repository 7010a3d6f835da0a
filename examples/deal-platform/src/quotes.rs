use outbox::OutboxMessage;
use outbox::relay::{MessageSink, PublishPath, Publisher, PublisherError, SinkError, sink};
use outbox::sqlx::PostgresWriter;
use sqlx::PgPool;

use crate::QuoteMoved;

/// Where quotes go out.
#[derive(Debug, Clone)]
pub struct Quotes {
    pub(crate) publisher: Publisher,
}

impl Quotes {
    /// Publishes a quote, which belongs to no transaction, the way that the mode says.
    ///
    /// # Errors
    ///
    /// [`PublisherError`]: it is neither published nor stored.
    pub async fn moved(&self, quote: &QuoteMoved) -> Result<PublishPath, PublisherError> {
        self.publisher.emit(quote).await
    }
}

/// The transaction of what has none of its own.
pub(crate) fn transactions(pool: &PgPool, writer: &PostgresWriter) -> impl MessageSink + use<> {
    sink((pool.clone(), writer.clone()), store)
}

async fn store(place: &(PgPool, PostgresWriter), messages: &[OutboxMessage]) -> Result<(), SinkError> {
    let (pool, writer) = place;
    let mut tx = pool.begin().await?;
    writer.enqueue_all(&mut tx, messages).await?;
    tx.commit().await?;
    Ok(())
}
