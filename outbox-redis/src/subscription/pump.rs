use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outbox_core::{SubscribeError, SubscribeErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::source::{Item, Source, Token};
use crate::link::Link;

/// How long one operation may take.
const OPERATION: Duration = Duration::from_secs(5);
/// Between two attempts to connect, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What a subscription, its pump and its receipts share.
pub(super) struct Shared {
    pub(super) source: Box<dyn Source>,
    pub(super) link: Link,
    pub(super) room: Arc<Semaphore>,
    pub(super) redeliver_after: Duration,
    delayed: Mutex<BTreeMap<(Instant, u64), Token>>,
    /// Something was handed back.
    handed_back: Notify,
}

/// An item, and its place among those that may be unsettled.
pub(super) type Placed = (Item, OwnedSemaphorePermit);

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
            room: Arc::new(Semaphore::new(prefetch)),
            redeliver_after,
            delayed: Mutex::default(),
            handed_back: Notify::new(),
        }
    }

    pub(super) fn hand_back(&self, token: Token, delay: Duration) {
        let mut delayed = self.delayed();
        // Several may be due at the same moment.
        let number = delayed.keys().map(|(_, number)| number + 1).max().unwrap_or_default();
        delayed.insert((Instant::now() + delay, number), token);
        drop(delayed);
        self.handed_back.notify_one();
    }

    /// A client, and what it does within its time.
    pub(super) async fn with<T, F>(
        &self,
        operation: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, SubscribeError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = self.link.connection().await.map_err(unreachable)?;
        within(OPERATION, operation(connection.client())).await
    }

    fn delayed(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Token>> {
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads ahead, so that dropping a call of `next` loses nothing, and looks after what is not settled.
pub(super) async fn run(shared: Arc<Shared>, out: mpsc::Sender<Result<Placed, SubscribeError>>) {
    let mut pause = PAUSE.0;
    loop {
        let begun = Instant::now();
        let Err(error) = session(&shared, &out).await else { return };
        // What waited for its delay comes again by itself: nobody says any more that it is being looked after.
        shared.delayed().clear();
        if out.send(Err(error)).await.is_err() {
            return;
        }
        if begun.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Receives by one pair of connections, until one of them fails. `Ok` if nobody wants anything any more.
async fn session(
    shared: &Arc<Shared>,
    out: &mpsc::Sender<Result<Placed, SubscribeError>>,
) -> Result<(), SubscribeError> {
    shared.with(async |mut client| shared.source.prepare(&mut client).await).await?;
    // One of its own: whatever is sent behind a command that blocks has to wait for it.
    let reader = shared.link.open().await.map_err(unreachable)?;
    tokio::select! {
        ended = fresh(shared, reader.client(), out) => ended,
        ended = care(shared, out) => ended,
    }
}

async fn fresh(
    shared: &Arc<Shared>,
    mut reader: MultiplexedConnection,
    out: &mpsc::Sender<Result<Placed, SubscribeError>>,
) -> Result<(), SubscribeError> {
    loop {
        let Ok(first) = Arc::clone(&shared.room).acquire_owned().await else { return Ok(()) };
        let mut places = vec![first];
        while let Ok(place) = Arc::clone(&shared.room).try_acquire_owned() {
            places.push(place);
        }
        let mut items = within(OPERATION, shared.source.fetch(&mut reader, places.len())).await?;
        if items.is_empty() {
            // Not with all places in hand: what comes again needs one, too.
            places.truncate(1);
            items = within(OPERATION, shared.source.wait(&mut reader)).await?;
        }
        let mut places = places.into_iter();
        for item in items {
            let place = match places.next() {
                Some(place) => place,
                // A wait for several streams may bring one of each.
                None => match Arc::clone(&shared.room).acquire_owned().await {
                    Ok(place) => place,
                    Err(_) => return Ok(()),
                },
            };
            if out.send(Ok((item, place))).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Says that this member lives, takes over from those that do not, and hands out again what was handed back.
async fn care(
    shared: &Arc<Shared>,
    out: &mpsc::Sender<Result<Placed, SubscribeError>>,
) -> Result<(), SubscribeError> {
    let interval = (shared.redeliver_after / 3).min(Duration::from_secs(10));
    let mut next_round = Instant::now();
    loop {
        let due = shared.delayed().first_key_value().map(|((due, _), _)| *due);
        let wait = due.map_or(next_round, |due| due.min(next_round));
        tokio::select! {
            () = sleep_until(wait) => {}
            () = shared.handed_back.notified() => continue,
        }
        if Instant::now() >= next_round {
            next_round = Instant::now() + interval;
            let delayed: Vec<Token> = shared.delayed().values().cloned().collect();
            shared.with(async |mut client| shared.source.keep(&mut client, &delayed).await).await?;
            if !take_over(shared, next_round, out).await? {
                return Ok(());
            }
        }
        while let Some(token) = due_now(shared) {
            let place = tokio::select! {
                place = Arc::clone(&shared.room).acquire_owned() => place,
                // The sign of life can't wait for a consumer that is busy.
                () = sleep_until(next_round) => {
                    shared.hand_back(token, Duration::ZERO);
                    break;
                }
            };
            let Ok(place) = place else { return Ok(()) };
            let again =
                shared.with(async |mut client| shared.source.again(&mut client, &token).await).await?;
            if let Some(item) = again
                && out.send(Ok((item, place))).await.is_err()
            {
                return Ok(());
            }
        }
    }
}

async fn take_over(
    shared: &Arc<Shared>,
    until: Instant,
    out: &mpsc::Sender<Result<Placed, SubscribeError>>,
) -> Result<bool, SubscribeError> {
    let first = tokio::select! {
        place = Arc::clone(&shared.room).acquire_owned() => place,
        () = sleep_until(until) => return Ok(true),
    };
    let Ok(first) = first else { return Ok(false) };
    let mut places = vec![first];
    while let Ok(place) = Arc::clone(&shared.room).try_acquire_owned() {
        places.push(place);
    }
    let room = places.len();
    let items = shared.with(async |mut client| shared.source.reclaim(&mut client, room).await).await?;
    for (item, place) in items.into_iter().zip(places) {
        if out.send(Ok((item, place))).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn due_now(shared: &Shared) -> Option<Token> {
    let mut delayed = shared.delayed();
    let first = delayed.first_entry()?;
    (first.key().0 <= Instant::now()).then(|| first.remove())
}

/// Bounds an operation: a server that stops answering is an error, not a silence.
pub(super) async fn within<T>(
    time: Duration,
    operation: impl Future<Output = RedisResult<T>>,
) -> Result<T, SubscribeError> {
    match timeout(time, operation).await {
        Ok(result) => result.map_err(|error| subscribe_error(&error)),
        Err(_) => Err(SubscribeError::new(SubscribeErrorKind::Unavailable, "Redis does not answer")),
    }
}

pub(super) fn unreachable(text: String) -> SubscribeError {
    SubscribeError::new(SubscribeErrorKind::Unavailable, format!("Redis can't be reached at {text}"))
}

/// What a failure means: the one place where that is decided.
fn subscribe_error(error: &RedisError) -> SubscribeError {
    let (kind, text) = match (error.kind(), error.code()) {
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) | (_, Some("WRONGTYPE")) => {
            (SubscribeErrorKind::Refused, format!("Redis refuses: {error}"))
        }
        (_, Some("NOGROUP")) => {
            (SubscribeErrorKind::Missing, format!("the stream or its group was deleted: {error}"))
        }
        _ => (SubscribeErrorKind::Unavailable, format!("the connection to Redis failed: {error}")),
    };
    SubscribeError::new(kind, text).with_source(error.clone())
}
