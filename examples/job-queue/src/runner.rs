use std::sync::Arc;

use anyhow::Result;
use outbox::relay::{Consumer, ConsumerConfig, ConsumerHandle};
use outbox::sqlx::{SqliteInbox, SqliteStore};
use outbox::{HandlerError, MessageHandler, OutboxMessage, Processed};
use sqlx::SqlitePool;

use crate::Resize;

/// Runs jobs from the list at a URL: `redis://localhost:6379?mode=list&group=runner&topics=images.resize`.
///
/// The work itself may happen again, if the process dies in the middle of it or is told to stop. That a job has run is
/// recorded once.
///
/// # Errors
///
/// If the URL or the configuration is wrong. A Redis that is away is no error.
pub async fn runner<W, F>(
    pool: &SqlitePool,
    url: &str,
    work: W,
    tune: impl FnOnce(&mut ConsumerConfig),
) -> Result<ConsumerHandle>
where
    W: Fn(Resize) -> F + Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let subscription = outbox::connect_subscription(url).await?;
    let inbox = SqliteInbox::new("runner")?;
    let name = inbox.consumer().clone();
    let runner = Runner { pool: pool.clone(), inbox, work };
    let consumer = Consumer::new(name, subscription, runner).inbox(Arc::new(SqliteStore::new(pool)));
    Ok(consumer.configure(tune).start()?)
}

struct Runner<W> {
    pool: SqlitePool,
    inbox: SqliteInbox,
    work: W,
}

impl<W, F> MessageHandler for Runner<W>
where
    W: Fn(Resize) -> F + Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    async fn handle(&self, message: &OutboxMessage) -> Result<Processed, HandlerError> {
        let resize: Resize = message.decode()?;
        let job = resize.job;
        // Outside of the transaction, which would keep all others from writing for as long.
        (self.work)(resize).await?;
        self.inbox
            .process(&self.pool, message, async |tx| {
                sqlx::query("UPDATE jobs SET runs = runs + 1 WHERE id = ?")
                    .bind(job)
                    .execute(&mut **tx)
                    .await?;
                Ok::<_, HandlerError>(())
            })
            .await
    }
}
