mod builder;
mod config;
mod error;
mod path;
mod sink;
mod stats;

mod backlog;
mod circuit;
mod desk;
mod destination;
mod figures;
mod share;
mod turns;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Event, OutboxMessage, OutboxStore, PublishError, Transport};

pub use builder::PublisherBuilder;
pub use config::{PublisherConfig, PublisherConfigError};
pub use error::PublisherError;
pub use path::PublishPath;
pub use sink::{MessageSink, SinkError, StatefulSink, sink};
pub use stats::PublisherStats;

use tracing::Instrument as _;

use crate::relay::Relay;
use desk::Desk;
use destination::Destination;
use stats::Counters;

/// Publishes messages that belong to no transaction, in one of three modes with the same calls. A clone is another
/// handle to the same publisher.
///
/// What belongs to a change in the database goes through the transaction of that change, and not through here: whatever
/// the mode, a publisher is a second write beside it.
///
/// | mode | what `Ok` says | what it can't promise |
/// |---|---|---|
/// | [`transactional`](Publisher::transactional) | it is in the outbox, and the relay delivers it | – |
/// | [`direct_first`](Publisher::direct_first) | the broker has confirmed it, or it is in the outbox | see below |
/// | [`direct`](Publisher::direct) | the broker has confirmed it | anything while the broker is away: the caller gets the error |
///
/// # Direct first
///
/// A message is published at once. It is stored, and the relay woken, if the broker is not available, does not answer in
/// time or can't take it now. While the broker is known to be away (a circuit breaker is open) nothing is tried, and
/// nobody waits for a time-out; a single message tries it at growing intervals, and publishing at once resumes by itself.
/// A message that the broker refuses is an error of its caller.
///
/// The promise is weaker than that of the outbox:
///
/// * **Until the call returns, the message exists in this process alone.** If the process dies before, it may be
///   published or stored, or neither.
/// * **An unknown outcome may come twice.** After a time-out or a cut connection the message is stored although the broker
///   may have it. Both copies have the same id, so the inbox drops the second; without an inbox the consumer sees two.
/// * **Order is that of one publisher.** Messages of a key whose calls don't overlap are first delivered in the order of
///   the calls. Other publishers and transactions that write the same key are not waited for.
///
/// Order outlives an outage: while the outbox has messages of a key, later ones of that key are stored behind them. Once
/// it is nearly empty, the next message of the key waits for the relay
/// ([`PublisherConfig::handover_wait`]), and from then on the key is published at once again. Messages without a key
/// resume at once. A key that waits for a retry or is parked keeps going through the outbox. What an earlier process left
/// in the outbox is waited for in the same way, so the first message with a key asks the database; so if the database is
/// away too, that one can be neither published nor stored.
///
/// # Cancel safety
///
/// Every call runs in a task of its own. A dropped future loses the result and nothing else: the message is published or
/// stored all the same. A runtime that shuts down ends it anywhere.
///
/// ```
/// use std::sync::Arc;
///
/// use outbox_core::{BoxError, OutboxMessage};
/// use outbox_memory::{MemoryStore, MemoryTransport};
/// use outbox_relay::{PublishPath, Publisher, SinkError, sink};
///
/// async fn write(store: &MemoryStore, messages: &[OutboxMessage]) -> Result<(), SinkError> {
///     store.enqueue_all(messages);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let (store, broker) = (MemoryStore::new(), MemoryTransport::new());
/// let publisher =
///     Publisher::direct_first(Arc::new(broker.clone()), sink(store.clone(), write), Arc::new(store.clone()))
///         .build()?;
/// let message = OutboxMessage::bytes("orders.placed", "7")?.build()?;
/// assert_eq!(publisher.publish(&message).await?, PublishPath::Direct);
///
/// broker.down();
/// let message = OutboxMessage::bytes("orders.placed", "8")?.build()?;
/// assert_eq!(publisher.publish(&message).await?, PublishPath::Fallback);
/// assert_eq!(store.pending(), [message]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    destinations: Vec<Destination>,
    outbox: Option<Arc<dyn OutboxStore>>,
    desk: Desk,
    counters: Counters,
}

impl Publisher {
    /// Stores every message, in a short transaction of its own.
    pub fn transactional(sink: impl MessageSink) -> PublisherBuilder {
        PublisherBuilder::new(Some(Box::new(sink)), None, None)
    }

    /// Publishes at once, and stores what the broker can't take now. The transport may be shared with a relay
    /// ([`Publisher::relay`]); `outbox` is the one that the sink writes to, and is only read.
    pub fn direct_first(
        transport: Arc<dyn Transport>,
        sink: impl MessageSink,
        outbox: Arc<dyn OutboxStore>,
    ) -> PublisherBuilder {
        PublisherBuilder::new(Some(Box::new(sink)), Some(outbox), Some(transport))
    }

    /// Publishes at once, and returns the error of the broker as it is.
    pub fn direct(transport: Arc<dyn Transport>) -> PublisherBuilder {
        PublisherBuilder::new(None, None, Some(transport))
    }

    /// Publishes one event.
    ///
    /// # Errors
    ///
    /// [`PublisherError::Message`] if it can't be encoded or is out of its limits, otherwise as [`Publisher::publish`].
    ///
    /// # Cancel safety
    ///
    /// As [`Publisher::publish`].
    pub async fn emit<E: Event + ?Sized>(&self, event: &E) -> Result<PublishPath, PublisherError> {
        // Before the first await, so that the event need not be `Sync`.
        let message = OutboxMessage::event(event)?;
        self.publish_one(message).await
    }

    /// Publishes one message, and says which way it took.
    ///
    /// # Errors
    ///
    /// [`PublisherError::Rejected`] if the broker refuses it; [`PublisherError::NotStored`] if it was to be stored and
    /// the database refuses; without an outbox [`PublisherError::NotPublished`] and [`PublisherError::Delayed`].
    ///
    /// # Cancel safety
    ///
    /// Yes, see [`Publisher`].
    pub async fn publish(&self, message: &OutboxMessage) -> Result<PublishPath, PublisherError> {
        self.publish_one(message.clone()).await
    }

    /// Publishes messages, and says of each what became of it, in their order. Of one key none overtakes another. What
    /// is stored for one destination is stored together.
    ///
    /// # Cancel safety
    ///
    /// Yes, see [`Publisher`].
    pub async fn publish_all(&self, messages: &[OutboxMessage]) -> Vec<Result<PublishPath, PublisherError>> {
        self.run(messages.to_vec()).await
    }

    /// What became of all messages so far.
    #[must_use]
    pub fn stats(&self) -> PublisherStats {
        self.inner.counters.read()
    }

    /// Calls `hook` each time something was stored: to wake the relay, in this process or another. It must not block.
    ///
    /// A relay that is in the process: `let waker = relay.waker(); publisher.wakes(move || waker.wake());`
    pub fn wakes(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.inner.desk.wakes(Arc::new(hook));
    }

    /// A relay for what was stored: from the same outbox to the same destinations, by the same transports. Each of the
    /// two has its share of what a transport may have under way. `None` unless the mode is direct first.
    #[must_use]
    pub fn relay(&self) -> Option<Relay> {
        let outbox = Arc::clone(self.inner.outbox.as_ref()?);
        let (default, routes) = self.inner.destinations.split_last()?;
        let relay = Relay::shared(outbox, default.share());
        Some(routes.iter().fold(relay, |relay, route| {
            relay.route(&*route.name, route.topics.include.iter().cloned(), route.share())
        }))
    }

    /// Closes the transports that nobody else holds. Calls that are under way then fail, or fall back.
    ///
    /// # Errors
    ///
    /// The first [`PublishError`]; the other transports are closed all the same.
    ///
    /// # Cancel safety
    ///
    /// No: some transports may stay open until they are dropped.
    pub async fn close(&self, timeout: Duration) -> Result<(), PublishError> {
        let mut closed = Ok(());
        for Destination { transport, .. } in &self.inner.destinations {
            if Arc::strong_count(transport) == 1 {
                closed = closed.and(transport.close(timeout).await);
            }
        }
        closed
    }

    async fn publish_one(&self, message: OutboxMessage) -> Result<PublishPath, PublisherError> {
        self.run(vec![message]).await.pop().unwrap_or(Err(PublisherError::Stopped))
    }

    /// In a task of its own: a caller that goes away would leave a message that nobody stores, and a client to be reset.
    async fn run(&self, batch: Vec<OutboxMessage>) -> Vec<Result<PublishPath, PublisherError>> {
        if batch.is_empty() {
            return Vec::new();
        }
        let messages = batch.len();
        // In the caller's span, where it is looked for.
        match tokio::spawn(Arc::clone(&self.inner).publish(batch).in_current_span()).await {
            Ok(results) => results,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => (0..messages).map(|_| Err(PublisherError::Stopped)).collect(),
            },
        }
    }
}

impl Inner {
    fn new(destinations: Vec<Destination>, outbox: Option<Arc<dyn OutboxStore>>, desk: Desk) -> Self {
        Self { destinations, outbox, desk, counters: Counters::default() }
    }

    async fn publish(self: Arc<Self>, batch: Vec<OutboxMessage>) -> Vec<Result<PublishPath, PublisherError>> {
        let mut ended = Vec::with_capacity(batch.len());
        if self.destinations.is_empty() {
            let stored = self.desk.store(&batch).await;
            ended.extend((0..batch.len()).map(|index| {
                let stored = stored.as_ref().map(|()| PublishPath::Stored);
                let failed =
                    |store: &Arc<_>| PublisherError::NotStored { store: Arc::clone(store), broker: None };
                (index, stored.map_err(failed))
            }));
        }
        for (place, destination) in self.destinations.iter().enumerate() {
            let is_mine = |index: &usize| self.destination_of(&batch[*index]) == place;
            let mine: Vec<usize> = (0..batch.len()).filter(is_mine).collect();
            if !mine.is_empty() {
                let of_this = destination.publish(&batch, mine, &self.desk).await;
                destination.figures.ended(&batch, &of_this);
                ended.extend(of_this);
                if destination.is_due_for_a_check() {
                    let inner = Arc::clone(&self);
                    // The caller need not wait for it.
                    tokio::spawn(async move { inner.destinations[place].check().await });
                }
            }
        }
        ended.sort_unstable_by_key(|(index, _)| *index);
        let results = ended.into_iter().map(|(_, result)| result);
        results.inspect(|result| self.counters.count(result)).collect()
    }

    /// The last destination takes what no route takes.
    fn destination_of(&self, message: &OutboxMessage) -> usize {
        let matches = |destination: &Destination| destination.topics.matches(message.topic().as_str());
        self.destinations.iter().position(matches).unwrap_or(self.destinations.len() - 1)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destinations: Vec<_> = self.inner.destinations.iter().map(|to| &to.name).collect();
        f.debug_struct("Publisher")
            .field("destinations", &destinations)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
