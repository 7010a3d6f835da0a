mod send;

use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use outbox_core::{
    OrderingKey, OutboxMessage, PublishError, PublishErrorKind, TopicFilter, Transport, TransportCapabilities,
};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::backlog::Backlog;
use super::circuit::{Circuit, Ticket};
use super::desk::Desk;
use super::figures::Figures;
use super::share::Share;
use super::turns::Turns;
use super::{PublishPath, PublisherConfig, PublisherError};
use crate::trace::Storing;

/// A message of a batch, by its place there, and what the broker said of it.
type Answer = (usize, Result<(), PublishError>);
/// A message of a batch that is not published, by its place there, the path it takes, and why, where the broker has said
/// it.
type Kept = (usize, PublishPath, Option<PublishError>);
/// A message of a batch, by its place there, and what became of it.
pub(super) type Ended = (usize, Result<PublishPath, PublisherError>);

/// A broker, with the topics that go to it.
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) topics: TopicFilter,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) capabilities: TransportCapabilities,
    /// Messages under way at most; the rest of what the transport allows is the relay's.
    most_in_flight: usize,
    /// `None` in the mode `direct`, which knows no table.
    pub(super) fallback: Option<Fallback>,
    pub(super) figures: Figures,
    timeout: Duration,
    in_flight: Semaphore,
    turns: Turns,
    /// When the last reset of the client began; locked while one is under way.
    reset_at: Mutex<Option<Instant>>,
}

/// What a message falls back on.
pub(super) struct Fallback {
    circuit: Circuit,
    backlog: Backlog,
}

impl Fallback {
    pub(super) fn new(circuit: Circuit, backlog: Backlog) -> Self {
        Self { circuit, backlog }
    }
}

impl Destination {
    pub(super) fn new(
        name: String,
        topics: TopicFilter,
        transport: Arc<dyn Transport>,
        fallback: Option<Fallback>,
        figures: Figures,
        config: &PublisherConfig,
    ) -> Self {
        let capabilities = transport.capabilities();
        let all = capabilities.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let most_in_flight = if fallback.is_some() { all.div_ceil(2) } else { all };
        Self {
            name,
            topics,
            transport,
            capabilities,
            most_in_flight,
            fallback,
            figures,
            timeout: config.publish_timeout,
            in_flight: Semaphore::new(most_in_flight),
            turns: Turns::new(),
            reset_at: Mutex::new(None),
        }
    }

    /// Reports what an exporter may have missed that was installed after it had happened.
    pub(super) fn repeat(&self) {
        if self.figures.repeat(Instant::now())
            && let Some(fallback) = &self.fallback
        {
            fallback.circuit.tell();
        }
    }

    /// The transport, for a relay.
    pub(super) fn share(&self) -> Arc<dyn Transport> {
        let rest = self.capabilities.max_in_flight.saturating_sub(self.most_in_flight).max(1);
        Arc::new(Share::of(&self.transport, rest))
    }

    /// Publishes these messages of the batch, or stores them, if there is where to.
    pub(super) async fn publish(&self, batch: &[OutboxMessage], mine: Vec<usize>, desk: &Desk) -> Vec<Ended> {
        let now = SystemTime::now();
        let is_delayed = |index: &usize| batch[*index].available_at().is_some_and(|time| time > now);
        let (delayed, mine): (Vec<usize>, Vec<usize>) = mine.into_iter().partition(is_delayed);
        let mut turns = self.turns.take(mine.iter().map(|index| &batch[*index])).await;
        let Some(fallback) = &self.fallback else {
            let refused = delayed.into_iter().map(|index| (index, Err(PublisherError::Delayed)));
            let answers =
                self.send(batch, mine).await.into_iter().map(|(index, answer)| (index, without(answer)));
            return refused.chain(answers).collect();
        };

        // Those that may not go now.
        let mut kept: Vec<Kept> =
            delayed.into_iter().map(|index| (index, PublishPath::Stored, None)).collect();
        let mut direct = Vec::with_capacity(mine.len());
        if fallback.circuit.may_send() {
            let closed = fallback.circuit.is_closed();
            // While the broker is not known to be back, the outbox is not waited for.
            let now = Instant::now();
            let deadline = if closed { fallback.backlog.deadline(now) } else { now };
            let mut behind: HashSet<&OrderingKey> = HashSet::new();
            for index in mine {
                let free = match batch[index].ordering_key() {
                    None => true,
                    Some(key) if behind.contains(key) => false,
                    Some(key) => match self.turns.of(key, &mut turns) {
                        Some(place) => {
                            let backlog = &fallback.backlog;
                            !place.holds(key)
                                || backlog.hands_over(key, place, &self.turns, deadline, desk).await
                        }
                        None => false,
                    },
                };
                if free {
                    direct.push(index);
                } else {
                    behind.extend(batch[index].ordering_key());
                    kept.push((index, PublishPath::Fallback, None));
                }
            }
        } else {
            fallback.backlog.grows();
            kept.extend(mine.into_iter().map(|index| (index, PublishPath::Fallback, None)));
        }

        let mut ended = Vec::with_capacity(direct.len() + kept.len());
        for (index, answer) in self.send(batch, direct).await {
            match answer {
                Ok(()) => ended.push((index, Ok(PublishPath::Direct))),
                Err(error) if error.kind() == PublishErrorKind::Rejected => {
                    ended.push((index, Err(PublisherError::Rejected(error))));
                }
                Err(error) => kept.push((index, PublishPath::Fallback, Some(error))),
            }
        }
        if kept.is_empty() {
            return ended;
        }
        kept.sort_unstable_by_key(|(index, ..)| *index);
        // Before it is tried: a write whose answer is lost may have happened.
        for (index, ..) in kept.iter().filter(|(_, path, _)| *path == PublishPath::Fallback) {
            if let Some(key) = batch[*index].ordering_key()
                && let Some(place) = self.turns.of(key, &mut turns)
            {
                place.hold(key);
            }
        }
        let indices: Vec<usize> = kept.iter().map(|(index, ..)| *index).collect();
        let stored = self.traced(batch, &kept, desk.store(&those(batch, &indices))).await;
        ended.extend(kept.into_iter().map(|(index, path, broker)| match &stored {
            Ok(()) => (index, Ok(path)),
            Err(store) => (index, Err(PublisherError::NotStored { store: Arc::clone(store), broker })),
        }));
        ended
    }

    /// Whether it is time to find out if the broker is back, and there was no message that could.
    pub(super) fn is_due_for_a_check(&self) -> bool {
        self.fallback.as_ref().is_some_and(|fallback| fallback.circuit.may_probe())
    }

    /// Finds out if the broker is back without a message: all of them may have to wait for others in the outbox.
    pub(super) async fn check(&self) {
        let Some(Ticket::Probe(sent)) = self.fallback.as_ref().map(|fallback| fallback.circuit.ask()) else {
            return;
        };
        let checking = AssertUnwindSafe(self.transport.check()).catch_unwind();
        match tokio::time::timeout(self.timeout, checking).await {
            Ok(Ok(Ok(()))) => sent.answered(),
            Ok(Ok(Err(error))) => sent.failed(&error.to_string()),
            Ok(Err(_)) | Err(_) => sent.failed("the broker did not answer in time"),
        }
    }

    /// Stores what was kept, and tells the tracer of those for which that is a fallback.
    async fn traced<T, E>(
        &self,
        batch: &[OutboxMessage],
        kept: &[Kept],
        storing: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let fallback = kept.iter().filter(|(_, path, _)| *path == PublishPath::Fallback);
        let messages = fallback.map(|(index, ..)| &batch[*index]);
        let count = messages.clone().count();
        if count == 0 {
            return storing.await;
        }
        let trace = Storing::begins(&self.name, self.capabilities.name, count);
        let stored = storing.instrument(trace.span()).await;
        trace.ended(messages, stored.is_ok());
        stored
    }
}

/// What became of a message that has nowhere else to go.
fn without(answer: Result<(), PublishError>) -> Result<PublishPath, PublisherError> {
    match answer {
        Ok(()) => Ok(PublishPath::Direct),
        Err(error) if error.kind() == PublishErrorKind::Rejected => Err(PublisherError::Rejected(error)),
        Err(error) => Err(PublisherError::NotPublished(error)),
    }
}

/// Some messages of a batch. Mostly they are all of them, or stand together, and nothing is copied; in no case their
/// payloads are.
fn those<'a>(batch: &'a [OutboxMessage], indices: &[usize]) -> Cow<'a, [OutboxMessage]> {
    match (indices.first(), indices.last()) {
        (Some(first), Some(last)) if last - first + 1 == indices.len() => {
            Cow::Borrowed(&batch[*first..=*last])
        }
        _ => indices.iter().map(|index| batch[*index].clone()).collect(),
    }
}
