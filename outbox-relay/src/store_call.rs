use std::time::Duration;

use outbox_core::{StoreError, StoreErrorKind};

/// Waits for a call of the store, and gives it up after so long: a connection that has fallen silent says nothing for as
/// long as somebody listens to it. What is given up may have happened, as with every answer that is lost.
pub(crate) async fn within<T>(
    limit: Duration,
    operation: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let silent =
        |_| Err(StoreError::new(StoreErrorKind::Unavailable, operation, format!("no answer in {limit:?}")));
    tokio::time::timeout(limit, call).await.unwrap_or_else(silent)
}
