//! The relay, as a user would run it: with the default configuration, on a store of its own.

mod counted;
mod sink;
mod slow;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use outbox_core::{OutboxStore, Transport};
use outbox_relay::{Relay, RelayConfig, RelayHandle};
use tokio::time::timeout;

use counted::Counted;
pub(crate) use sink::Order;
use sink::Sink;
pub(crate) use slow::Slow;
pub(crate) use tally::Tally;

/// Nothing here takes longer, unless it stands still.
const PATIENCE: Duration = Duration::from_secs(120);

/// A relay that runs.
pub(crate) struct Ours {
    relay: RelayHandle,
    settled: Tally,
}

impl Ours {
    pub(crate) async fn start(store: impl OutboxStore, order: Order) -> Result<Self> {
        Self::on(Arc::new(store), order).await
    }

    /// The same on a store that was chosen at run time.
    pub(crate) async fn on(store: Arc<dyn OutboxStore>, order: Order) -> Result<Self> {
        Self::among(store, Arc::new(Sink::new(order)), RelayConfig::default(), Tally::default()).await
    }

    /// A relay to this transport.
    pub(crate) async fn to(store: impl OutboxStore, transport: Arc<dyn Transport>) -> Result<Self> {
        Self::among(Arc::new(store), transport, RelayConfig::default(), Tally::default()).await
    }

    /// A relay that may be one of several, which count together.
    pub(crate) async fn among(
        store: Arc<dyn OutboxStore>,
        transport: Arc<dyn Transport>,
        config: RelayConfig,
        settled: Tally,
    ) -> Result<Self> {
        let store = Arc::new(Counted::new(store, settled.sender()));
        let relay = Relay::shared(store, transport).config(config).start().await?;
        Ok(Self { relay, settled })
    }

    /// Says that messages were committed, as the writer's process would.
    pub(crate) fn wake(&self) {
        self.relay.waker().wake();
    }

    /// How many shards it owns.
    pub(crate) fn shards(&self) -> usize {
        self.relay.monitor().leases().shards
    }

    /// Waits until so many messages are published, confirmed and gone from the table, counted from the start.
    pub(crate) async fn settled(&mut self, messages: u32) -> Result<()> {
        let settled = self.settled.reaches(messages.into(), PATIENCE).await;
        settled.with_context(|| format!("{:?}", self.relay.stats()))
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.relay.shutdown().await?;
        Ok(())
    }

    /// Waits until it is connected, owns shards and has looked for messages.
    pub(crate) async fn at_work(&self) -> Result<()> {
        let idle = async {
            while self.shards() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, idle).await.context("the relay owns no shard")?;
        self.reads(1).await
    }

    /// Waits until the relay has made this many more reads.
    pub(crate) async fn reads(&self, more: u64) -> Result<()> {
        let upto = self.relay.stats().reads + more;
        timeout(PATIENCE, async {
            while self.relay.stats().reads < upto {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .context("the relay does not read")
    }
}
