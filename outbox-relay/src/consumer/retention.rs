use std::sync::Arc;
use std::time::Duration;

use outbox_core::{ConsumerName, InboxAdmin, StoreError};

/// What is forgotten in one transaction at most.
const AT_ONCE: u32 = 1_000;

/// The clocks of the database and of the consumers may differ by this much: what a consumer still takes for young enough is
/// remembered.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// Forgets what the inbox of a consumer has remembered for longer than this, in transactions of 1,000 messages each, until there is
/// nothing more. Returns how many. Safe to run at the same time from several places.
///
/// # Errors
///
/// The first [`StoreError`]; what was forgotten before it is.
///
/// # Cancel safety
///
/// Yes.
pub async fn purge_inbox(
    inbox: &dyn InboxAdmin,
    consumer: &ConsumerName,
    retention: Duration,
) -> Result<u64, StoreError> {
    let mut purged = 0;
    loop {
        let some = inbox.purge_inbox(consumer, retention, AT_ONCE).await?;
        purged += some;
        if some < u64::from(AT_ONCE) {
            return Ok(purged);
        }
    }
}

/// Does so again and again, for ever.
pub(super) async fn keep_purging(
    inbox: Arc<dyn InboxAdmin>,
    consumer: &ConsumerName,
    retention: Duration,
    interval: Duration,
    purged: impl Fn(usize),
) {
    loop {
        // Several consumers need not look at the same moment.
        tokio::time::sleep(interval.mul_f64(0.5 + fastrand::f64())).await;
        match purge_inbox(&*inbox, consumer, retention.saturating_add(MARGIN)).await {
            Ok(count) => purged(usize::try_from(count).unwrap_or(usize::MAX)),
            Err(error) => tracing::warn!("the inbox forgets nothing at the moment: {error}"),
        }
    }
}
