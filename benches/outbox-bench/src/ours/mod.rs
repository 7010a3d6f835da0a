//! The relay, as a user would run it: with the default configuration, on a store of its own.

mod counted;
mod sink;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outbox_core::OutboxStore;
use outbox_relay::{Relay, RelayHandle};
use tokio::sync::watch;
use tokio::time::timeout;

use counted::Counted;
pub(crate) use sink::Order;
use sink::Sink;

/// Nothing here takes longer, unless it stands still.
const PATIENCE: Duration = Duration::from_secs(120);

/// A relay that runs.
pub(crate) struct Ours {
    relay: RelayHandle,
    settled: watch::Receiver<u64>,
}

impl Ours {
    pub(crate) async fn start(store: impl OutboxStore, order: Order) -> Result<Self> {
        let (store, settled) = Counted::new(store);
        let relay = Relay::new(store, Sink::new(order)).start().await?;
        Ok(Self { relay, settled })
    }

    /// Says that messages were committed, as the writer's process would.
    pub(crate) fn wake(&self) {
        self.relay.waker().wake();
    }

    /// Waits until so many messages are published, confirmed and gone from the table, counted from the start.
    pub(crate) async fn settled(&mut self, messages: u32) -> Result<()> {
        let messages = u64::from(messages);
        let reached = self.settled.wait_for(|settled| *settled >= messages);
        let reached = timeout(PATIENCE, reached).await;
        let stats = self.relay.stats();
        let settled = *reached.with_context(|| format!("not all of {messages} messages: {stats:?}"))??;
        ensure!(settled == messages, "{settled} rows were settled, not {messages}");
        Ok(())
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.relay.shutdown().await?;
        Ok(())
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
