use std::time::Duration;

use outbox_core::SubscribeError;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::error::{Failure, subscribe_error};
use super::shared::{OPERATION, Shared};

/// Between two attempts to connect, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a read waits for something new at most.
const MOMENT: Duration = Duration::from_secs(1);
/// Between two rounds of looking after what is not settled, at most.
const ROUND: Duration = Duration::from_secs(10);

/// Reads ahead, so that dropping a call of `next` loses nothing, and looks after what is not settled. Ends when it is
/// aborted.
pub(super) async fn run(shared: &Shared) {
    let mut pause = PAUSE.0;
    loop {
        let begun = Instant::now();
        let error = session(shared).await;
        // What waited for its delay comes again by itself: nobody says any more that it is being looked after.
        shared.forget_delayed();
        shared.received.fail(error);
        if begun.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Receives by one pair of connections, until one of them fails.
async fn session(shared: &Shared) -> SubscribeError {
    let prepared = shared.with(async |mut client| shared.source.prepare(&mut client).await).await;
    if let Err(error) = prepared {
        return error;
    }
    // One of its own: whatever is sent behind a command that blocks has to wait for it.
    let reader = match shared.link.open().await {
        Ok(reader) => reader,
        Err(text) => return subscribe_error(Failure::Unreachable(&text)),
    };
    let turn = Mutex::new(());
    let ended = async {
        // What was left comes first: it is older than what is new.
        let next_round = round(shared, &turn).await?;
        tokio::select! {
            ended = fresh(shared, &turn, reader.client()) => ended,
            ended = care(shared, &turn, next_round) => ended,
        }
    };
    let ended = ended.await;
    reader.end().await;
    match ended {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

type Never = std::convert::Infallible;

async fn fresh(
    shared: &Shared,
    turn: &Mutex<()>,
    mut reader: MultiplexedConnection,
) -> Result<Never, SubscribeError> {
    let source = &shared.source;
    // Much shorter than a round: whoever needs a place for what comes again is not to wait for long.
    let moment = MOMENT.min(shared.redeliver_after / 6);
    loop {
        // While something is taken over, every place that becomes free is for that.
        let reading = turn.lock().await;
        let mut places = shared.places().await;
        drop(reading);
        let mut items = within(source.fetch(&mut reader, places.len())).await?;
        if items.is_empty() {
            // Not with all places in hand: what comes again needs one, too.
            places.truncate(source.width());
            items = within(source.wait(&mut reader, moment)).await?;
        }
        let mut places = places.into_iter();
        for item in items {
            let place = match places.next() {
                Some(place) => place,
                // Fewer places than topics, and several of those had something.
                None => shared.place().await,
            };
            shared.received.push((item, place));
        }
    }
}

/// Says that this member lives, takes over from those that do not, and hands out again what was handed back.
async fn care(shared: &Shared, turn: &Mutex<()>, mut next_round: Instant) -> Result<Never, SubscribeError> {
    loop {
        let wait = shared.next_due().map_or(next_round, |due| due.min(next_round));
        tokio::select! {
            () = sleep_until(wait) => {}
            () = shared.handed_back.notified() => continue,
        }
        if Instant::now() >= next_round {
            next_round = round(shared, turn).await?;
        }
        while let Some(token) = shared.due() {
            let place = tokio::select! {
                place = shared.place() => place,
                // The sign of life can't wait for a consumer that is busy.
                () = sleep_until(next_round) => {
                    shared.hand_back(token, Duration::ZERO);
                    break;
                }
            };
            let again =
                shared.with(async |mut client| shared.source.again(&mut client, &token).await).await?;
            if let Some(item) = again {
                shared.received.push((item, place));
            }
        }
    }
}

/// Says that this member lives, and takes over from those that do not. Returns when that is due again.
async fn round(shared: &Shared, turn: &Mutex<()>) -> Result<Instant, SubscribeError> {
    let next = Instant::now() + (shared.redeliver_after / 3).min(ROUND);
    let waiting = shared.waiting();
    shared.with(async |mut client| shared.source.keep(&mut client, &waiting).await).await?;
    take_over(shared, turn, next).await?;
    Ok(next)
}

/// All that there is, as places become free: a stream that always has something new would otherwise keep it waiting. The
/// next sign of life can't wait for a consumer that is busy.
async fn take_over(shared: &Shared, turn: &Mutex<()>, until: Instant) -> Result<(), SubscribeError> {
    let Ok(_first) = timeout_at(until, turn.lock()).await else { return Ok(()) };
    while let Ok(places) = timeout_at(until, shared.places()).await {
        let room = places.len();
        let items = shared.with(async |mut client| shared.source.reclaim(&mut client, room).await).await?;
        let all = items.len() < room;
        for placed in items.into_iter().zip(places) {
            shared.received.push(placed);
        }
        if all {
            break;
        }
    }
    Ok(())
}

/// Bounds a read: a server that stops answering is an error, not a silence.
async fn within<T>(reading: impl Future<Output = RedisResult<T>>) -> Result<T, SubscribeError> {
    match timeout(OPERATION, reading).await {
        Ok(result) => result.map_err(|error| subscribe_error(Failure::Operation(&error))),
        Err(_) => Err(subscribe_error(Failure::TimedOut)),
    }
}
