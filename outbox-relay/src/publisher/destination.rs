use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use outbox_core::{
    OrderingKey, OutboxMessage, PublishError, PublishErrorKind, TopicFilter, Transport, TransportCapabilities,
};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::backlog::Backlog;
use super::circuit::{Circuit, Sent, Ticket};
use super::desk::Desk;
use super::share::Share;
use super::turns::Turns;
use super::{PublishPath, PublisherConfig, PublisherError};

/// How long a client may take to forget what it holds back.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// A message of a batch, by its place there, and what the broker said of it.
type Answer = (usize, Result<(), PublishError>);
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
    timeout: Duration,
    in_flight: Semaphore,
    turns: Turns,
    /// How often the client was reset.
    resets: AtomicU64,
    resetting: Mutex<()>,
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
            timeout: config.publish_timeout,
            in_flight: Semaphore::new(most_in_flight),
            turns: Turns::new(),
            resets: AtomicU64::new(0),
            resetting: Mutex::new(()),
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

        // Those that may not go now, and why, where the broker has said it.
        let mut kept: Vec<(usize, PublishPath, Option<PublishError>)> =
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
        let stored = desk.store(&those(batch, &indices)).await;
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

    /// Sends these messages, in as few calls as the transport's promises allow.
    async fn send(&self, batch: &[OutboxMessage], mine: Vec<usize>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(mine.len());
        let mut stopped: HashSet<&OrderingKey> = HashSet::new();
        let mut waiting = mine;
        while !waiting.is_empty() {
            let (mut call, mut later) = self.next_call(batch, waiting, &stopped, &mut answers);
            if call.is_empty() {
                break;
            }
            let Some((permit, sent)) = self.admit(&mut call, &mut later).await else {
                let not_sent = || PublishError::unavailable("not sent: the broker is not available");
                answers.extend(call.into_iter().chain(later).map(|index| (index, Err(not_sent()))));
                break;
            };
            let results = self.call(&those(batch, &call)).await;
            drop(permit);
            if let Some(sent) = sent {
                report(sent, &results);
            }
            for (index, result) in call.into_iter().zip(results) {
                if matches!(&result, Err(error) if error.kind() != PublishErrorKind::Rejected) {
                    stopped.extend(batch[index].ordering_key());
                }
                answers.push((index, result));
            }
            waiting = later;
        }
        answers
    }

    /// Parts what is sent next from what waits for it. Nothing of a key follows one that failed.
    fn next_call(
        &self,
        batch: &[OutboxMessage],
        waiting: Vec<usize>,
        stopped: &HashSet<&OrderingKey>,
        answers: &mut Vec<Answer>,
    ) -> (Vec<usize>, Vec<usize>) {
        let most = self.capabilities.max_batch.clamp(1, self.most_in_flight);
        let (mut call, mut later) = (Vec::with_capacity(waiting.len().min(most)), Vec::new());
        let mut keys: HashSet<&OrderingKey> = HashSet::new();
        for index in waiting {
            let key = batch[index].ordering_key();
            if key.is_some_and(|key| stopped.contains(key)) {
                let error = PublishError::retryable("not sent: an earlier message of its key failed");
                answers.push((index, Err(error)));
                continue;
            }
            let follows = !self.capabilities.pipelined_order && key.is_some_and(|key| !keys.insert(key));
            if call.len() < most && !follows { call.push(index) } else { later.push(index) }
        }
        (call, later)
    }

    /// Waits for room. `None` if the broker is known to be away; a call that is to find out is cut down to one message.
    async fn admit(
        &self,
        call: &mut Vec<usize>,
        later: &mut Vec<usize>,
    ) -> Option<(SemaphorePermit<'_>, Option<Sent<'_>>)> {
        let wanted = u32::try_from(call.len()).unwrap_or(u32::MAX);
        let room = self.in_flight.acquire_many(wanted);
        let Some(Fallback { circuit, .. }) = &self.fallback else {
            return Some((room.await.ok()?, None));
        };
        let permit = if circuit.is_closed() {
            tokio::select! {
                biased;
                permit = room => permit.ok()?,
                // What fills the room is waiting for a broker that is away.
                () = circuit.opened() => return None,
            }
        } else {
            room.await.ok()?
        };
        match circuit.ask() {
            Ticket::Free(sent) => Some((permit, Some(sent))),
            Ticket::Probe(sent) => {
                later.extend(call.drain(1..));
                later.sort_unstable();
                Some((permit, Some(sent)))
            }
            Ticket::No => None,
        }
    }

    /// One call of the transport.
    async fn call(&self, messages: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        let resets = self.resets.load(Ordering::Acquire);
        let publishing = AssertUnwindSafe(self.transport.publish(messages)).catch_unwind();
        let unknown = |text: &str| messages.iter().map(|_| Err(PublishError::unknown(text))).collect();
        let mut results: Vec<_> = match tokio::time::timeout(self.timeout, publishing).await {
            Ok(Ok(results)) => results,
            Ok(Err(_panic)) => unknown("the transport panicked"),
            Err(_elapsed) => unknown("the broker did not answer in time"),
        };
        results.resize_with(messages.len(), || Err(PublishError::unknown("the transport gave no result")));
        let is_unknown =
            |result: &Result<(), PublishError>| kind_of(result) == Some(PublishErrorKind::Unknown);
        if results.iter().any(is_unknown) {
            self.reset(resets).await;
        }
        results
    }

    /// What the client still holds back must not arrive later. Many calls fail together; one of them resets for all.
    async fn reset(&self, resets: u64) {
        let _one = self.resetting.lock().await;
        if self.resets.load(Ordering::Acquire) != resets {
            return;
        }
        let reset = AssertUnwindSafe(self.transport.reset()).catch_unwind();
        if !matches!(tokio::time::timeout(RESET_TIMEOUT, reset).await, Ok(Ok(()))) {
            tracing::warn!(transport = self.capabilities.name, "the client could not be reset");
        }
        self.resets.fetch_add(1, Ordering::Release);
    }
}

/// Tells the circuit breaker what came of a call.
fn report(sent: Sent<'_>, results: &[Result<(), PublishError>]) {
    let of_kind = |kind| results.iter().find(|result| kind_of(result) == Some(kind));
    let answered = results.iter().any(|result| {
        !matches!(kind_of(result), Some(PublishErrorKind::Unavailable | PublishErrorKind::Unknown))
    });
    match of_kind(PublishErrorKind::Unavailable).or_else(|| of_kind(PublishErrorKind::Unknown)) {
        // One of many that is not clear is no outage.
        Some(Err(error)) if error.kind() == PublishErrorKind::Unavailable || !answered => {
            sent.failed(&error.to_string());
        }
        _ => sent.answered(),
    }
}

fn kind_of(result: &Result<(), PublishError>) -> Option<PublishErrorKind> {
    result.as_ref().err().map(PublishError::kind)
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
