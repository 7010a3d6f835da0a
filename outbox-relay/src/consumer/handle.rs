use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::ConsumerError;
use super::stats::ConsumerStats;

/// What a consumer was told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Run,
    Pause,
    Stop,
}

/// A running consumer.
///
/// Dropping it stops the consumer in the background, as [`ConsumerHandle::shutdown`] does.
#[must_use = "dropping the handle stops the consumer"]
pub struct ConsumerHandle {
    command: watch::Sender<Command>,
    stats: Arc<dyn Fn() -> ConsumerStats + Send + Sync>,
    trouble: Trouble,
    running: Option<JoinHandle<Result<(), ConsumerError>>>,
}

/// Why nothing is received, if so.
pub(super) type Trouble = Arc<Mutex<Option<String>>>;

impl ConsumerHandle {
    pub(super) fn new(
        command: watch::Sender<Command>,
        stats: Arc<dyn Fn() -> ConsumerStats + Send + Sync>,
        trouble: Trouble,
        running: JoinHandle<Result<(), ConsumerError>>,
    ) -> Self {
        Self { command, stats, trouble, running: Some(running) }
    }

    /// Begins no more handlers until [`ConsumerHandle::resume`]. Those that are running go on, and what waits in memory
    /// stays there.
    pub fn pause(&self) {
        self.tell(Command::Pause);
    }

    /// Goes on after [`ConsumerHandle::pause`].
    pub fn resume(&self) {
        self.tell(Command::Run);
    }

    fn tell(&self, command: Command) {
        self.command.send_if_modified(|current| {
            let changed = *current != Command::Stop && *current != command;
            if changed {
                *current = command;
            }
            changed
        });
    }

    /// What the consumer has done so far.
    #[must_use]
    pub fn stats(&self) -> ConsumerStats {
        (self.stats)()
    }

    /// What went wrong with the broker since the last delivery; `None` if nothing did. Where messages are rare it may be over
    /// long ago.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is running: not shut down, and not ended by a defect.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// Stops: nothing more is received, the handlers that are running end and their messages are settled, what waits is
    /// handed back to the broker, and the subscription is closed.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::ShutdownTimedOut`] if handlers took longer than `shutdown_timeout`, and were dropped.
    /// [`ConsumerError::Subscription`] if the broker may not know of the last settlements. What it does not know of comes
    /// again.
    ///
    /// # Cancel safety
    ///
    /// No: a dropped future leaves the shutdown going on in the background.
    pub async fn shutdown(mut self) -> Result<ConsumerStats, ConsumerError> {
        let _ = self.command.send(Command::Stop);
        if let Some(running) = self.running.take() {
            running.await.map_err(|_| ConsumerError::Panicked)??;
        }
        Ok(self.stats())
    }

    /// Stops at once, as if the process had died: nothing is finished or settled. For tests of what happens then.
    pub fn abort(mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

impl Drop for ConsumerHandle {
    fn drop(&mut self) {
        let _ = self.command.send(Command::Stop);
    }
}

impl fmt::Debug for ConsumerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerHandle").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
