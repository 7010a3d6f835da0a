use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{MessageId, OutboxMessage, PublishErrorKind};

use super::MemoryTransport;

/// What the broker does with one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It takes and confirms the message.
    Accept,
    /// It does not take the message.
    Fail(PublishErrorKind),
    /// It takes the message, but the confirmation is lost.
    AcceptThenFail(PublishErrorKind),
    /// It never answers, and the message does not arrive.
    Hang,
}

type Behaviour = Arc<dyn Fn(&OutboxMessage, u32) -> Verdict + Send + Sync>;

/// How a test wants the broker to behave, and what was seen of its caller.
#[derive(Default)]
pub(super) struct Script {
    behaviour: Option<Behaviour>,
    tries: HashMap<MessageId, u32>,
    pub(super) latency: Duration,
    pub(super) down: bool,
    pub(super) resets: u64,
    pub(super) publishes: u64,
    pub(super) keys_in_flight: HashSet<String>,
    pub(super) in_flight: usize,
    pub(super) violations: Vec<String>,
}

impl Script {
    pub(super) fn judge(&mut self, message: &OutboxMessage) -> Verdict {
        // Tries are counted for a script only: an in-process broker must not remember every message.
        let Some(behaviour) = self.behaviour.clone() else {
            return Verdict::Accept;
        };
        let tries = self.tries.entry(*message.id()).or_default();
        *tries += 1;
        behaviour(message, *tries)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

/// For tests: decide what the broker does, and look at what it got.
impl MemoryTransport {
    /// From now on this decides about each message; its second argument is the number of the try, from 1, counted from
    /// this call on. It is called under a lock and must not call the transport.
    pub fn set_behaviour(&self, behaviour: impl Fn(&OutboxMessage, u32) -> Verdict + Send + Sync + 'static) {
        let mut script = self.script();
        script.behaviour = Some(Arc::new(behaviour));
        script.tries.clear();
    }

    /// [`MemoryTransport::set_behaviour`] while it is made.
    #[must_use]
    pub fn with_behaviour(
        self,
        behaviour: impl Fn(&OutboxMessage, u32) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.set_behaviour(behaviour);
        self
    }

    /// From now on every call of `publish` takes this long, by tokio's clock, before it does anything.
    pub fn set_latency(&self, latency: Duration) {
        self.script().latency = latency;
    }

    /// The broker is out of reach, also for calls that are under way.
    pub fn down(&self) {
        self.script().down = true;
    }

    /// Ends [`MemoryTransport::down`].
    pub fn up(&self) {
        self.script().down = false;
    }

    /// What the broker has accepted, in that order; second copies included.
    #[must_use]
    pub fn delivered(&self) -> Vec<OutboxMessage> {
        self.broker().recorded()
    }

    /// Waits until at least so many were accepted, and returns them all. Set a time limit around it.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn wait_for(&self, count: usize) -> Vec<OutboxMessage> {
        let mut recorded = self.shared.recorded.subscribe();
        // The sender lives as long as this handle, so the wait can't end in an error.
        let _ = recorded.wait_for(|recorded| *recorded >= count).await;
        self.delivered()
    }

    /// How often `publish` was called.
    #[must_use]
    pub fn publishes(&self) -> u64 {
        self.script().publishes
    }

    /// How often `reset` was called.
    #[must_use]
    pub fn resets(&self) -> u64 {
        self.script().resets
    }

    /// Where a caller broke the contract of [`Transport::publish`](outbox_core::Transport::publish): a key in two calls at
    /// once, too large a batch, too much in flight.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.script().violations.clone()
    }
}
