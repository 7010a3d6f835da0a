use anyhow::Result;
use outbox::relay::Publisher;
use outbox::sqlx::PostgresWriter;
use outbox::{DeliveryMode, OutboxWaker};
use sqlx::PgPool;

use crate::DealClosed;

/// Where deals are closed.
#[derive(Debug, Clone)]
pub struct Deals {
    pub(crate) pool: PgPool,
    pub(crate) writer: PostgresWriter,
    pub(crate) waker: OutboxWaker,
    pub(crate) publisher: Publisher,
    pub(crate) mode: DeliveryMode,
}

impl Deals {
    /// Writes a deal and its event in one transaction. The broker is not asked: it may be away.
    ///
    /// # Errors
    ///
    /// The database's. Then there is neither a deal nor an event.
    pub async fn close(&self, customer: String, amount: i64) -> Result<DealClosed> {
        let mut tx = self.pool.begin().await?;
        let deal = sqlx::query_scalar("INSERT INTO deals (customer, amount) VALUES ($1, $2) RETURNING id")
            .bind(&customer)
            .bind(amount)
            .fetch_one(&mut *tx)
            .await?;
        let closed = DealClosed { deal, customer, amount };
        if self.mode == DeliveryMode::Direct {
            // The outbox is switched off, and so is its promise: between these two lines the event can be lost.
            tx.commit().await?;
            self.publisher.emit(&closed).await?;
        } else {
            self.writer.emit(&mut tx, &closed).await?;
            tx.commit().await?;
            self.waker.wake();
        }
        Ok(closed)
    }
}
