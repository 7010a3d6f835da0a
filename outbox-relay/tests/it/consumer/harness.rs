//! A broker in memory, a handler that does what the payload says, and a count of tries that survives the consumer.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    ConsumerName, Delivery, DeliverySource, HandlerError, InboxAdmin, MessageHandler, MessageId,
    OutboxMessage, Processed, StoreError, StoreErrorKind, SubscribeError, SubscribeOptions, Subscription,
    SubscriptionCapabilities, Topic, Transport, handler,
};
use outbox_memory::{MemoryDeadLetter, MemoryTransport};
use outbox_relay::{Consumer, ConsumerConfig, ConsumerHandle, ConsumerStats};
use tokio::sync::Notify;

pub(super) const GROUP: &str = "billing";
pub(super) const TOPIC: &str = "orders.placed";

/// What the tests know of all consumers of the group.
#[derive(Default)]
pub(super) struct World {
    pub(super) transport: MemoryTransport,
    pub(super) seen: Arc<Seen>,
    pub(super) counts: Arc<Counts>,
    /// Whether the broker hands out a log instead of counting deliveries.
    pub(super) log: bool,
    pub(super) prefetch: Option<usize>,
}

/// What the handler was called with.
#[derive(Default)]
pub(super) struct Seen {
    begun: Mutex<Vec<String>>,
    done: Mutex<Vec<String>>,
    effects: Mutex<HashSet<MessageId>>,
    running: AtomicUsize,
    pub(super) most_running: AtomicUsize,
    pub(super) open: AtomicBool,
    changed: Notify,
}

impl Seen {
    pub(super) fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().clone()
    }

    pub(super) fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }

    fn begin(&self, payload: &str) -> usize {
        let mut begun = self.begun.lock().unwrap();
        begun.push(payload.to_owned());
        self.changed.notify_waiters();
        begun.iter().filter(|other| *other == payload).count()
    }

    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

/// Does what the payload says: the words before the first `/`.
async fn obey(seen: &Arc<Seen>, message: &OutboxMessage) -> Result<Processed, HandlerError> {
    let payload = std::str::from_utf8(message.payload())?.to_owned();
    let attempt = seen.begin(&payload);
    let _running = Running::new(seen);
    let words: Vec<&str> = payload.split('/').next().unwrap().split(' ').collect();
    match words[..] {
        ["ok"] => {}
        ["fails", times] if attempt <= times.parse::<usize>()? => Err("no such account")?,
        ["fails", _] => {}
        ["panics"] => panic!("out of ink"),
        ["rejects"] => return Err(HandlerError::rejected("not an order")),
        ["away", times] if attempt <= times.parse::<usize>()? => {
            return Err(HandlerError::unavailable(Duration::from_secs(2), "the bank is closed"));
        }
        ["away", _] => {}
        ["busy", times] if attempt <= times.parse::<usize>()? => return Ok(Processed::Busy),
        ["busy", _] => {}
        ["skips"] => return Ok(Processed::Skipped),
        ["kills", "or-is-away"] if attempt.is_multiple_of(2) => {
            return Err(HandlerError::unavailable(Duration::from_secs(2), "the bank is closed"));
        }
        ["hangs"] | ["kills", ..] => std::future::pending().await,
        ["waits"] => seen.until(|seen| seen.open.load(Ordering::Relaxed)).await,
        _ => panic!("what is {payload:?}?"),
    }
    if !seen.effects.lock().unwrap().insert(*message.id()) {
        return Ok(Processed::Duplicate);
    }
    seen.done.lock().unwrap().push(payload);
    seen.changed.notify_waiters();
    Ok(Processed::Applied(()))
}

struct Running<'s>(&'s Seen);

impl<'s> Running<'s> {
    fn new(seen: &'s Seen) -> Self {
        let running = seen.running.fetch_add(1, Ordering::Relaxed) + 1;
        seen.most_running.fetch_max(running, Ordering::Relaxed);
        Self(seen)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tries in a database, which can be away.
#[derive(Default)]
pub(super) struct Counts {
    tries: Mutex<HashMap<MessageId, u32>>,
    pub(super) away: AtomicBool,
    /// Seconds that a count takes.
    pub(super) seconds: AtomicU64,
    pub(super) writes: AtomicUsize,
    /// Writes with these numbers, from 1 on, find no database.
    pub(super) refused: Mutex<Vec<usize>>,
    pub(super) purges: AtomicUsize,
}

impl Counts {
    pub(super) fn len(&self) -> usize {
        self.tries.lock().unwrap().len()
    }

    fn there(&self) -> Result<(), StoreError> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        if self.away.load(Ordering::Relaxed) || self.refused.lock().unwrap().contains(&number) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "count an attempt", "no database"));
        }
        Ok(())
    }
}

#[async_trait]
impl InboxAdmin for Counts {
    async fn count_attempt(&self, _: &ConsumerName, id: &MessageId) -> Result<Option<u32>, StoreError> {
        tokio::time::sleep(Duration::from_secs(self.seconds.load(Ordering::Relaxed))).await;
        self.there()?;
        let mut tries = self.tries.lock().unwrap();
        let count = tries.entry(*id).or_default();
        *count += 1;
        Ok(Some(*count))
    }

    async fn retract_attempt(&self, _: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        self.there()?;
        let mut tries = self.tries.lock().unwrap();
        if let Some(count) = tries.get_mut(id) {
            *count -= 1;
        }
        tries.retain(|_, count| *count > 0);
        Ok(())
    }

    async fn forget_attempts(&self, _: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        self.there()?;
        self.tries.lock().unwrap().remove(id);
        Ok(())
    }

    async fn purge_inbox(&self, _: &ConsumerName, _: Duration, limit: u32) -> Result<u64, StoreError> {
        // A full page, and then the rest.
        let page = self.purges.fetch_add(1, Ordering::Relaxed) % 2;
        Ok(if page == 0 { limit.into() } else { 7 })
    }
}

impl World {
    pub(super) fn log() -> Self {
        Self { log: true, ..Self::default() }
    }

    /// A group has what is published after its first member came.
    pub(super) fn subscription(&self) -> Box<dyn Subscription> {
        let mut options = SubscribeOptions::new(GROUP, [Topic::new(TOPIC).unwrap()]);
        options.prefetch = self.prefetch.unwrap_or(64);
        let subscription = Box::new(self.transport.subscription(options).unwrap());
        if self.log { Box::new(Log { inner: subscription, assignment: rand() }) } else { subscription }
    }

    pub(super) fn consumer(&self) -> Consumer<impl MessageHandler> {
        self.consumer_of(self.subscription())
    }

    pub(super) fn consumer_of(&self, subscription: Box<dyn Subscription>) -> Consumer<impl MessageHandler> {
        self.without_inbox(subscription).inbox(self.counts.clone())
    }

    pub(super) fn without_inbox(&self, subscription: Box<dyn Subscription>) -> Consumer<impl MessageHandler> {
        let name = ConsumerName::new(GROUP).unwrap();
        Consumer::new(name, subscription, handler(Arc::clone(&self.seen), obey))
    }

    pub(super) fn start(&self) -> ConsumerHandle {
        self.start_with(|_| {})
    }

    pub(super) fn start_with(&self, change: impl FnOnce(&mut ConsumerConfig)) -> ConsumerHandle {
        self.consumer().configure(change).start().unwrap()
    }

    /// Publishes messages with the same id, which have these keys.
    pub(super) async fn publish_copies(&self, payload: &str, keys: &[Option<&str>]) {
        let id = MessageId::new();
        let copy = |key: &Option<&str>| {
            let message = OutboxMessage::bytes(TOPIC, payload.to_owned()).unwrap().id(id);
            key.iter().fold(message, |message, key| message.ordering_key(key)).build().unwrap()
        };
        let messages: Vec<OutboxMessage> = keys.iter().map(copy).collect();
        for published in self.transport.publish(&messages).await {
            published.unwrap();
        }
    }

    /// Publishes these payloads, with the key that stands behind an `@`.
    pub(super) async fn publish(&self, payloads: &[&str]) -> Vec<MessageId> {
        let message = |payload: &&str| {
            let (payload, key) = payload.split_once('@').map_or((*payload, None), |(p, k)| (p, Some(k)));
            let message = OutboxMessage::bytes(TOPIC, payload.to_owned()).unwrap();
            let message = key.into_iter().fold(message, |message, key| message.ordering_key(key));
            message.build().unwrap()
        };
        let messages: Vec<OutboxMessage> = payloads.iter().map(message).collect();
        for published in self.transport.publish(&messages).await {
            published.unwrap();
        }
        messages.iter().map(|message| *message.id()).collect()
    }

    pub(super) fn dead(&self) -> Vec<MemoryDeadLetter> {
        self.transport.dead_letters(GROUP)
    }

    /// The payloads of the dead letters and why they are there.
    pub(super) fn reasons(&self) -> Vec<(String, String)> {
        let text = |dead: &MemoryDeadLetter| String::from_utf8_lossy(&dead.payload).into_owned();
        self.dead().iter().map(|dead| (text(dead), dead.reason.clone())).collect()
    }
}

/// Waits for figures of a consumer, in the time of the test: an hour costs a few hundred looks.
pub(super) async fn until(consumer: &ConsumerHandle, holds: impl Fn(&ConsumerStats) -> bool) {
    let mut pause = Duration::from_millis(1);
    while !holds(&consumer.stats()) {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Hands out the same, as a broker that has a log.
struct Log {
    inner: Box<dyn Subscription>,
    assignment: u64,
}

fn rand() -> u64 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) as u64
}

#[async_trait]
impl Subscription for Log {
    fn capabilities(&self) -> SubscriptionCapabilities {
        self.inner.capabilities().counts_deliveries(false).partitioned(true)
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        let (message, receipt) = self.inner.next().await?.into_parts();
        let source = DeliverySource { topic: TOPIC.into(), partition: 0, assignment: self.assignment };
        Ok(Delivery::new(message, None, receipt).from_source(source))
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        self.inner.check().await
    }

    async fn close(&mut self, timeout: Duration) -> Result<(), SubscribeError> {
        self.inner.close(timeout).await
    }
}
