use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use outbox_core::{OutboxMessage, SubscribeOptions, Topic};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a group was given and has not settled. Its members share it.
#[derive(Debug, Default)]
pub(crate) struct Group {
    topics: Mutex<Vec<Topic>>,
    queue: Mutex<Queue>,
    /// Something may be ready.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Item>,
    /// What waits and what is in the hands of members.
    unsettled: usize,
    dead: Vec<MemoryDeadLetter>,
}

/// A message, or something that is none.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Message(OutboxMessage),
    Foreign { topic: String, payload: Bytes },
}

impl Body {
    fn topic(&self) -> &str {
        match self {
            Self::Message(message) => message.topic().as_str(),
            Self::Foreign { topic, .. } => topic,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) place: u64,
    pub(crate) body: Body,
    pub(crate) attempt: u32,
    not_before: Option<Instant>,
}

/// What a group gave up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemoryDeadLetter {
    /// The message; `None` if it was none of an outbox.
    pub message: Option<OutboxMessage>,
    /// Its payload.
    pub payload: Bytes,
    /// Why.
    pub reason: String,
    /// Where it had been published.
    pub topic: String,
}

impl Group {
    pub(crate) fn read(&self, options: &SubscribeOptions) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in &options.topics {
            if !topics.contains(topic) {
                topics.push(topic.clone());
            }
        }
    }

    pub(crate) fn publish(&self, body: &Body) {
        let wanted = |topic: &Topic| topic.as_str() == body.topic();
        if !self.topics.lock().unwrap_or_else(PoisonError::into_inner).iter().any(wanted) {
            return;
        }
        let mut queue = self.queue();
        let place = queue.next;
        queue.next += 1;
        queue.unsettled += 1;
        queue.waiting.insert(place, Item { place, body: body.clone(), attempt: 0, not_before: None });
        drop(queue);
        self.changed.notify_waiters();
    }

    /// Takes what is ready, in the order of publishing.
    pub(crate) async fn take(&self) -> Item {
        loop {
            // From before the look, so that nothing is missed between it and the wait.
            let changed = self.changed.notified();
            let now = Instant::now();
            let due = {
                let mut queue = self.queue();
                let ready = |item: &&Item| item.not_before.is_none_or(|time| time <= now);
                if let Some(place) = queue.waiting.values().find(ready).map(|item| item.place)
                    && let Some(mut item) = queue.waiting.remove(&place)
                {
                    item.attempt += 1;
                    return item;
                }
                queue.waiting.values().filter_map(|item| item.not_before).min()
            };
            match due {
                Some(due) => drop(tokio::time::timeout_at(due, changed).await),
                None => changed.await,
            }
        }
    }

    pub(crate) fn put_back(&self, mut item: Item, delay: Duration) {
        item.not_before = (!delay.is_zero()).then(|| Instant::now() + delay);
        self.queue().waiting.insert(item.place, item);
        self.changed.notify_waiters();
    }

    pub(crate) fn bury(&self, item: Item, reason: &str) {
        let topic = item.body.topic().to_owned();
        let (message, payload) = match item.body {
            Body::Message(message) => (Some(message.clone()), message.payload().clone()),
            Body::Foreign { payload, .. } => (None, payload),
        };
        let reason = outbox_core::dead_reason(reason);
        self.queue().dead.push(MemoryDeadLetter { message, payload, reason, topic });
        self.settled();
    }

    /// An item is done with.
    pub(crate) fn settled(&self) {
        self.queue().unsettled -= 1;
        self.changed.notify_waiters();
    }

    /// Waits until everything is settled that was published.
    pub(crate) async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.queue().unsettled == 0 {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn dead(&self) -> Vec<MemoryDeadLetter> {
        self.queue().dead.clone()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one member holds unsettled; it goes back to the group when the member ends.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) group: Arc<Group>,
    held: Mutex<BTreeMap<u64, Item>>,
}

impl Member {
    pub(crate) fn of(group: Arc<Group>) -> Self {
        Self { group, held: Mutex::default() }
    }

    pub(crate) fn hold(&self, item: Item) {
        self.held().insert(item.place, item);
    }

    /// The item, unless the member has ended since.
    pub(crate) fn release(&self, place: u64) -> Option<Item> {
        self.held().remove(&place)
    }

    pub(crate) fn end(&self) {
        for item in std::mem::take(&mut *self.held()).into_values() {
            self.group.put_back(item, Duration::ZERO);
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, Item>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
