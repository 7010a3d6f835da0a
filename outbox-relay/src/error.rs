use outbox_core::{PublishError, StoreError};

use crate::config::ConfigError;

/// Why a relay did not start, or how it ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database refuses in a way that waiting does not cure: not migrated, wrong version.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A transport could not be closed in time.
    #[error("closing the transport: {0}")]
    Transport(#[from] PublishError),
    /// Messages were still under way when the time for the shutdown was over. Nothing is lost: the next owner of their
    /// shards publishes them again.
    #[error(
        "shutdown timed out with {unsettled} messages not settled; the next owner will publish them again"
    )]
    ShutdownTimedOut {
        /// How many.
        unsettled: usize,
    },
    /// A task of the relay panicked: a defect. Leases run out, and another relay takes over.
    #[error("a task of the relay panicked")]
    Panicked,
}
