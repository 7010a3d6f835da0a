mod broker;
mod flight;
mod script;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{
    BrokerConfigError, OutboxMessage, PublishError, PublishErrorKind, SubscribeOptions, Transport,
    TransportCapabilities,
};
use tokio::sync::{mpsc, watch};

use broker::Broker;
use flight::Flight;
use script::Script;
pub use script::Verdict;

use crate::subscription::{Body, MemoryDeadLetter, MemorySubscription};

/// A broker in the process. A clone is another handle to the same broker.
///
/// What it accepts goes to every subscriber of that moment, and, unless it was made by
/// [`MemoryTransport::unrecorded`], into the list that [`MemoryTransport::delivered`] returns.
#[derive(Clone)]
pub struct MemoryTransport {
    capabilities: TransportCapabilities,
    shared: Arc<Shared>,
}

struct Shared {
    broker: Mutex<Broker>,
    script: Mutex<Script>,
    /// Messages recorded so far.
    recorded: watch::Sender<usize>,
}

impl MemoryTransport {
    /// A broker that remembers every delivery: for tests.
    #[must_use]
    pub fn new() -> Self {
        Self::from_broker(Broker::recording())
    }

    /// A broker that keeps nothing once its subscribers have it: for services that live in one process.
    #[must_use]
    pub fn unrecorded() -> Self {
        Self::from_broker(Broker::default())
    }

    fn from_broker(broker: Broker) -> Self {
        Self {
            capabilities: TransportCapabilities::new("memory").pipelined_order(true),
            shared: Arc::new(Shared {
                broker: Mutex::new(broker),
                script: Mutex::default(),
                recorded: watch::Sender::new(0),
            }),
        }
    }

    /// The same broker with other promises, which it keeps: it refuses larger payloads, drops second copies, and with
    /// `pipelined_order` accepts nothing of a key behind a failed message.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: TransportCapabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Receives what is published from now on. When `capacity` messages wait, publishing waits too: a message is
    /// confirmed only once every subscriber has room for it. Drop the receiver to unsubscribe.
    #[must_use]
    pub fn subscribe(&self, capacity: usize) -> mpsc::Receiver<OutboxMessage> {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        self.broker().subscribers.push(sender);
        receiver
    }

    /// Receives what is published to these topics from now on, as a member of a group. Any number of messages may wait
    /// for a group: it is for tests and for small amounts.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the options are incomplete.
    pub fn subscription(&self, options: SubscribeOptions) -> Result<MemorySubscription, BrokerConfigError> {
        let group = Arc::clone(self.broker().groups.entry(options.group.clone()).or_default());
        MemorySubscription::member_of(group, options)
    }

    /// What a group has given up.
    #[must_use]
    pub fn dead_letters(&self, group: &str) -> Vec<MemoryDeadLetter> {
        let group = self.broker().groups.get(group).cloned();
        group.map(|group| group.dead()).unwrap_or_default()
    }

    /// Waits until a group has settled everything that was published to it: acknowledged, or given up. There is no
    /// time-out, so put one around it. A group that has no members yet has nothing to settle.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn drained(&self, group: &str) {
        let group = self.broker().groups.get(group).cloned();
        if let Some(group) = group {
            group.drained().await;
        }
    }

    /// Hands something to the groups of a topic that is no message of an outbox.
    pub fn publish_foreign(&self, topic: &str, payload: impl Into<Bytes>) {
        let groups = self.broker().groups.clone();
        let body = Body::Foreign { topic: topic.to_owned(), payload: payload.into() };
        groups.values().for_each(|group| group.publish(&body));
    }

    fn broker(&self) -> MutexGuard<'_, Broker> {
        self.shared.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn publish_one(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        self.reachable()?;
        if let Some(limit) = self.capabilities.max_payload.filter(|limit| message.payload().len() > *limit) {
            let text = format!("payload has {} bytes, this broker takes {limit}", message.payload().len());
            return Err(PublishError::rejected(text));
        }
        let verdict = self.script().judge(message);
        match verdict {
            Verdict::Accept => self.accept(message).await,
            Verdict::Fail(kind) => Err(scripted(kind)),
            Verdict::AcceptThenFail(kind) => {
                self.accept(message).await?;
                Err(scripted(kind))
            }
            Verdict::Hang => std::future::pending().await,
        }
    }

    async fn accept(&self, message: &OutboxMessage) -> Result<(), PublishError> {
        let subscribers = self.broker().subscribers.clone();
        let mut rooms = Vec::with_capacity(subscribers.len());
        for subscriber in &subscribers {
            // Room with everyone first: a call that is cancelled while it waits has given the message to nobody.
            if let Ok(room) = subscriber.reserve().await {
                rooms.push(room);
            }
        }
        let recorded = {
            let mut broker = self.broker();
            if broker.is_copy(message, self.capabilities.dedup_window) {
                return Ok(());
            }
            // Under the lock, so that every group has the same order.
            if !broker.groups.is_empty() {
                let body = Body::Message(message.clone());
                broker.groups.values().for_each(|group| group.publish(&body));
            }
            broker.record(message)
        };
        for room in rooms {
            room.send(message.clone());
        }
        // Two calls may arrive here in the other order.
        self.shared.recorded.send_modify(|known| *known = recorded.max(*known));
        Ok(())
    }

    fn reachable(&self) -> Result<(), PublishError> {
        if self.broker().closed {
            return Err(PublishError::unavailable("the transport is closed"));
        }
        if self.script().down {
            return Err(PublishError::unavailable("the broker is down"));
        }
        Ok(())
    }
}

impl Default for MemoryTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("capabilities", &self.capabilities)
            .field("recorded", &*self.shared.recorded.borrow())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn capabilities(&self) -> TransportCapabilities {
        self.capabilities.clone()
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        let _flight = Flight::take_off(self, batch);
        let latency = self.script().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let mut stopped: HashSet<&str> = HashSet::new();
        let mut results = Vec::with_capacity(batch.len());
        for message in batch {
            let key = message.ordering_key().map(|key| key.as_str());
            let result = match key.filter(|key| stopped.contains(key)) {
                Some(_) => Err(PublishError::retryable("not sent: an earlier message of its key failed")),
                None => self.publish_one(message).await,
            };
            if self.capabilities.pipelined_order && result.is_err() {
                stopped.extend(key);
            }
            results.push(result);
        }
        results
    }

    async fn check(&self) -> Result<(), PublishError> {
        self.reachable()
    }

    async fn reset(&self) {
        self.script().resets += 1;
    }

    async fn close(&self, _timeout: Duration) -> Result<(), PublishError> {
        let mut broker = self.broker();
        broker.closed = true;
        // Subscribers see the end of the stream once they have read what is left.
        broker.subscribers.clear();
        Ok(())
    }
}

fn scripted(kind: PublishErrorKind) -> PublishError {
    PublishError::new(kind, "a failure that a test asked for")
}
