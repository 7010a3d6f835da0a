use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use outbox_core::SubscribeError;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::source::{Item, Token};

/// An item, and its place among those that may be unsettled.
pub(super) type Placed = (Item, OwnedSemaphorePermit);

/// What was received and waits until somebody calls `next`: bounded by the places. Unlike a channel it can be looked into,
/// so that the server is told that what waits here is not abandoned.
#[derive(Default)]
pub(super) struct Received {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Placed>,
    /// The last one only: a server that is away for long would fill any queue.
    error: Option<SubscribeError>,
}

impl Received {
    pub(super) fn push(&self, item: Placed) {
        self.waiting().items.push_back(item);
        self.arrived.notify_one();
    }

    pub(super) fn fail(&self, error: SubscribeError) {
        self.waiting().error = Some(error);
        self.arrived.notify_one();
    }

    /// The next one. Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Result<Placed, SubscribeError> {
        loop {
            {
                let mut waiting = self.waiting();
                if let Some(item) = waiting.items.pop_front() {
                    return Ok(item);
                }
                if let Some(error) = waiting.error.take() {
                    return Err(error);
                }
            }
            // One who arrives between the look and this call leaves a permit behind.
            self.arrived.notified().await;
        }
    }

    /// What waits.
    pub(super) fn tokens(&self) -> Vec<Token> {
        self.waiting().items.iter().map(|(item, _)| item.token.clone()).collect()
    }

    pub(super) fn clear(&self) {
        *self.waiting() = Waiting::default();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
