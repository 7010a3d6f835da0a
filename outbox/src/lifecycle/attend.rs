//! The tasks that end things: whoever waits for the end may go away, and it goes on.

use std::sync::Arc;

use outbox_relay::{RelayError, RelayHandle, RelayStats};
use tokio::sync::watch;

use super::served::Served;
use super::shared::{End, Shared, Slot};

/// Keeps a relay that was started until it ends, or is to end because of a shutdown or of a handle that was dropped.
pub(super) async fn keep(mut relay: RelayHandle, mut stop: watch::Receiver<bool>, shared: Arc<Shared>) {
    let monitor = relay.monitor();
    let end = tokio::select! {
        ended = relay.ended() => {
            if let Err(error) = &ended {
                tracing::error!(%error, "the relay has ended by itself: nothing is delivered by this process any more");
            }
            ended.map(|()| monitor.stats())
        }
        _ = stopped(&mut stop) => relay.shutdown().await,
    };
    shared.end(end.map_err(Arc::new));
}

/// Waits for the end of an application's outbox, and carries it out: the relay, the publisher, and last what tells about
/// them, so that a scrape sees the last messages, too.
pub(super) async fn attend(
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    served: Served,
    finished: watch::Sender<Option<End>>,
) {
    // Who drops the handle may still publish.
    let asked = stopped(&mut stop).await;
    let mut end = end_relay(&shared).await;
    if let Some(publisher) = shared.publisher.as_ref().filter(|_| asked) {
        let closed = publisher.close(shared.config.relay.shutdown_timeout).await;
        end = end.and_then(|stats| closed.map(|()| stats).map_err(|error| Arc::new(RelayError::from(error))));
    }
    if asked {
        served.shutdown().await;
    }
    finished.send_replace(Some(end));
}

/// Waits for the end of the handle, and says whether somebody has asked for it: the handle may just be gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) -> bool {
    stop.wait_for(|stop| *stop).await.is_ok()
}

async fn end_relay(shared: &Shared) -> End {
    let was = std::mem::replace(&mut *shared.slot.lock().await, Slot::ShutDown);
    if !matches!(was, Slot::Running) {
        shared.end(Ok(RelayStats::default()));
    }
    ended(shared.ended.subscribe()).await
}

/// Waits for it. A task that is gone without a word has panicked, or its runtime is shutting down.
pub(super) async fn ended(mut end: watch::Receiver<Option<End>>) -> End {
    let end = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
    end.unwrap_or_else(|| Err(Arc::new(RelayError::Panicked)))
}
