use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::watch;
use tokio::time::timeout;

/// How many rows were settled, by one relay or by several.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(watch::Sender<u64>);

impl Tally {
    pub(super) fn sender(&self) -> watch::Sender<u64> {
        self.0.clone()
    }

    /// Waits until the sum is this number, and gives up when it has not grown for so long. It may not exceed it: then
    /// something was settled twice, or was there before.
    pub(crate) async fn reaches(&self, messages: u64, patience: Duration) -> Result<()> {
        let mut sums = self.0.subscribe();
        loop {
            let sum = *sums.borrow_and_update();
            ensure!(sum <= messages, "{sum} rows were settled, not {messages}");
            if sum == messages {
                return Ok(());
            }
            let changed = timeout(patience, sums.changed()).await;
            changed.with_context(|| format!("{sum} of {messages} messages, and no more"))??;
        }
    }
}
