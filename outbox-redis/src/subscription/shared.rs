use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outbox_core::SubscribeError;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::error::{Failure, subscribe_error};
use super::received::Received;
use super::source::{Source, Token};
use crate::error::is_elsewhere;
use crate::link::Link;

/// How long one operation may take.
pub(super) const OPERATION: Duration = Duration::from_secs(5);

/// What a subscription, its pump and its receipts share.
pub(super) struct Shared {
    pub(super) source: Box<dyn Source>,
    pub(super) link: Link,
    pub(super) received: Received,
    pub(super) redeliver_after: Duration,
    room: Arc<Semaphore>,
    delayed: Mutex<Delayed>,
    /// Something was handed back.
    pub(super) handed_back: Notify,
}

/// What was handed back and comes again, in the order in which it is due.
#[derive(Default)]
struct Delayed {
    tokens: BTreeMap<(Instant, u64), Token>,
    /// Several may be due at the same moment.
    count: u64,
}

impl Shared {
    pub(super) fn new(
        source: Box<dyn Source>,
        link: Link,
        prefetch: usize,
        redeliver_after: Duration,
    ) -> Self {
        Self {
            source,
            link,
            received: Received::default(),
            redeliver_after,
            room: Arc::new(Semaphore::new(prefetch)),
            delayed: Mutex::default(),
            handed_back: Notify::new(),
        }
    }

    pub(super) fn hand_back(&self, token: Token, delay: Duration) {
        let mut delayed = self.delayed();
        let key = (Instant::now() + delay, delayed.count);
        delayed.count += 1;
        delayed.tokens.insert(key, token);
        drop(delayed);
        self.handed_back.notify_one();
    }

    /// When the first of what was handed back is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed().tokens.first_key_value().map(|((due, _), _)| *due)
    }

    /// The first of what was handed back, if it is due.
    pub(super) fn due(&self) -> Option<Token> {
        let mut delayed = self.delayed();
        let first = delayed.tokens.first_entry()?;
        (first.key().0 <= Instant::now()).then(|| first.remove())
    }

    pub(super) fn forget_delayed(&self) {
        self.delayed().tokens.clear();
    }

    /// Everything that waits in this process, for somebody to call `next` or for its delay.
    pub(super) fn waiting(&self) -> Vec<Token> {
        let mut tokens = self.received.tokens();
        tokens.extend(self.delayed().tokens.values().cloned());
        tokens
    }

    /// One place among those that may be unsettled.
    pub(super) async fn place(&self) -> OwnedSemaphorePermit {
        let place = Arc::clone(&self.room).acquire_owned().await;
        place.unwrap_or_else(|_| unreachable!("nobody closes it"))
    }

    /// As many as there are, and at least one.
    pub(super) async fn places(&self) -> Vec<OwnedSemaphorePermit> {
        let mut places = vec![self.place().await];
        while let Ok(place) = Arc::clone(&self.room).try_acquire_owned() {
            places.push(place);
        }
        places
    }

    /// A client, and what it does within its time.
    pub(super) async fn with<T, F>(
        &self,
        operation: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, SubscribeError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = self.link.connection().await;
        let connection = connection.map_err(|text| subscribe_error(Failure::Unreachable(&text)))?;
        match timeout(OPERATION, operation(connection.client())).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                if is_elsewhere(&error) {
                    connection.stop();
                }
                Err(subscribe_error(Failure::Operation(&error)))
            }
            Err(_) => {
                // A firewall that has forgotten the connection would keep it silent for ever.
                connection.stop();
                Err(subscribe_error(Failure::TimedOut))
            }
        }
    }

    fn delayed(&self) -> MutexGuard<'_, Delayed> {
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
