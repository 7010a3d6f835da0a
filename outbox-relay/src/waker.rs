use std::sync::Arc;

use tokio::sync::Notify;

/// Tells the relay in this process that something was committed. Cheap, never blocks, may be called at any rate: hints
/// that arrive while the relay is busy become one.
#[derive(Debug, Clone, Default)]
pub struct Waker {
    destinations: Arc<Vec<Arc<Notify>>>,
}

impl Waker {
    pub(crate) fn new(destinations: Vec<Arc<Notify>>) -> Self {
        Self { destinations: Arc::new(destinations) }
    }

    /// Call it after the commit.
    pub fn wake(&self) {
        self.destinations.iter().for_each(|destination| destination.notify_one());
    }
}
