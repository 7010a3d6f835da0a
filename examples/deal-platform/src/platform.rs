use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use outbox::relay::{ConsumerHandle, ConsumerStats};
use outbox::sqlx::PostgresWriter;
use outbox::{Config, OutboxHandle};

use crate::{Deals, Quotes, database, quotes, settlement};

/// Everything that lives as long as the application.
#[derive(Debug)]
pub struct Platform {
    /// The outbox: its relay, its wake-ups, its metrics.
    pub outbox: OutboxHandle,
    /// Where deals are closed.
    pub deals: Deals,
    /// Where quotes go out.
    pub quotes: Quotes,
    settlement: Mutex<Option<ConsumerHandle>>,
}

impl Platform {
    /// Starts what the configuration says, and the settlement of deals if there is a URL where they arrive.
    ///
    /// # Errors
    ///
    /// What is configured wrongly. Nothing runs then: what had begun ends with its handles.
    pub async fn start(config: &Config, settlement_url: Option<&str>) -> Result<Self> {
        let pool = database::open(config).await?;
        let writer = PostgresWriter::with_names(&config.table_names()?);
        let sink = quotes::transactions(&pool, &writer);
        let (outbox, publisher) = config.outbox().start_with_publisher(sink).await?;
        let settlement = match settlement_url {
            Some(url) => Some(settlement::start(config, &pool, url).await?),
            None => None,
        };
        let quotes = Quotes { publisher: publisher.clone() };
        let (waker, mode) = (outbox.waker(), outbox.mode());
        let deals = Deals { pool, writer, waker, publisher, mode };
        Ok(Self { outbox, deals, quotes, settlement: Mutex::new(settlement) })
    }

    /// What the settlement has done so far; nothing, if there is none here.
    #[must_use]
    pub fn settled(&self) -> ConsumerStats {
        self.settlement().as_ref().map(ConsumerHandle::stats).unwrap_or_default()
    }

    fn settlement(&self) -> MutexGuard<'_, Option<ConsumerHandle>> {
        self.settlement.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, once no request can commit anything more: what is under way is finished, nothing is sent twice, and the
    /// shards are free for the next one.
    ///
    /// # Errors
    ///
    /// What did not end in time, or had ended before.
    pub async fn shutdown(&self) -> Result<()> {
        let settlement = self.settlement().take();
        if let Some(settlement) = settlement {
            settlement.shutdown().await?;
        }
        self.outbox.shutdown().await?;
        Ok(())
    }
}
