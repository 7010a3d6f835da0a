use async_trait::async_trait;
use outbox_core::Wakeup;
use tokio::sync::watch;

/// Wakes a relay when a [`MemoryTransaction`](crate::MemoryTransaction) with messages commits.
#[derive(Debug)]
pub struct MemoryWakeup {
    commits: watch::Receiver<u64>,
}

impl MemoryWakeup {
    pub(super) fn new(commits: watch::Receiver<u64>) -> Self {
        Self { commits }
    }
}

#[async_trait]
impl Wakeup for MemoryWakeup {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn wait(&mut self) {
        if self.commits.changed().await.is_err() {
            // The store is gone, so nothing will ever be committed.
            std::future::pending::<()>().await;
        }
    }
}
