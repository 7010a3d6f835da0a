use anyhow::Result;
use outbox::relay::{Consumer, ConsumerHandle};
use outbox::sqlx::PostgresInbox;
use outbox::{Config, HandlerError, MessageHandler, OutboxMessage, Processed};
use sqlx::PgPool;

use crate::DealClosed;

struct Settlement {
    pool: PgPool,
    inbox: PostgresInbox,
}

impl MessageHandler for Settlement {
    /// The guard is a transaction in which the message is recorded: what is done in it happens with that, or not at all.
    async fn handle(&self, message: &OutboxMessage) -> Result<Processed, HandlerError> {
        let closed: DealClosed = message.decode()?;
        let mut guard = self.inbox.begin(&self.pool, message).await?;
        if guard.fresh() {
            sqlx::query("INSERT INTO settlements (deal, amount) VALUES ($1, $2)")
                .bind(closed.deal)
                .bind(closed.amount)
                .execute(&mut **guard.tx())
                .await?;
        }
        Ok(guard.commit().await?)
    }
}

/// Settles the deals that arrive at a URL: `redis://localhost?group=settlement&topics=deals.closed`.
pub(crate) async fn start(config: &Config, pool: &PgPool, url: &str) -> Result<ConsumerHandle> {
    let subscription = outbox::connect_subscription(url).await?;
    let inbox = PostgresInbox::with_names("settlement", &config.table_names()?)?;
    let settlement = Settlement { pool: pool.clone(), inbox };
    let name = settlement.inbox.consumer().clone();
    let consumer = Consumer::new(name, subscription, settlement).inbox(config.connect_store().await?);
    let consumer = consumer.configure(|settings| {
        *settings = config.inbox.consumer();
        // One schedule for both sides.
        settings.retry = config.relay.retry.clone();
    });
    Ok(consumer.start()?)
}
