use outbox_relay::RelayError;

use crate::ConnectError;
#[cfg(feature = "http")]
use crate::observe::ObserveError;

/// Why the outbox of an application, or its relay, did not start. No text has credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A URL or a name that is needed is missing or wrong.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The relay refuses: the database is not migrated, or the configuration does not suit the broker.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// Metrics and health can't be served.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// It was shut down, and does not start again.
    #[error("the outbox was shut down: make a new one to start again")]
    ShutDown,
}
