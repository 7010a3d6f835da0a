//! The processes of a business: what they do, but for their database.

mod consumer;
mod producer;

pub(crate) use consumer::{CONSUMER, ConsumerSettings, Misfortune, consume};
pub(crate) use producer::{Draft, ProducerSettings, TRANSACTION_LIMIT, accounts, produce};

/// Where a process finds what it is to do, as JSON.
pub(crate) const ROLE: &str = "OUTBOX_CHAOS_ROLE";

/// The header in which a message says which of its account it is.
pub(crate) const VERSION: &str = "chaos-version";

/// What a process of this program is, if it is not the harness.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Role {
    Producer(ProducerSettings),
    Consumer(ConsumerSettings),
}

impl Role {
    /// Works until it is killed, or told to end.
    pub(crate) async fn play(self) -> anyhow::Result<()> {
        match self {
            Self::Producer(settings) => settings.store.produce(settings).await,
            Self::Consumer(settings) => settings.store.consume(settings).await,
        }
    }
}

/// Returns when whoever has started this process is gone.
async fn orphaned() {
    use tokio::io::AsyncReadExt as _;
    let mut byte = [0];
    while !matches!(tokio::io::stdin().read(&mut byte).await, Ok(0) | Err(_)) {}
}
