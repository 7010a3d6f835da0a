use std::io;
use std::net::SocketAddr;

/// Why metrics and health can't be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The address can't be listened at.
    #[error("listening at {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The process has a recorder of metrics already. Make it by [`prometheus_builder`](super::prometheus_builder) and
    /// give its handle to [`Observer::exporter`](super::Observer::exporter), or leave `/metrics` to it by
    /// [`Observer::without_metrics`](super::Observer::without_metrics).
    #[error(
        "another recorder of metrics is installed in this process; pass its handle by Observer::exporter, or leave \
         /metrics to it by Observer::without_metrics"
    )]
    RecorderTaken,
}
