//! Messages out: in which calls, when there is room, and what the circuit breaker learns of it.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use outbox_core::{OrderingKey, OutboxMessage, PublishError, PublishErrorKind};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::super::circuit::{Sent, Ticket};
use super::{Answer, Destination, Fallback, those};
use crate::metrics::Path;
use crate::trace::{self, Published};

/// How long a client may take to forget what it holds back.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

impl Destination {
    /// Sends these messages, in as few calls as the transport's promises allow.
    pub(super) async fn send(&self, batch: &[OutboxMessage], mine: Vec<usize>) -> Vec<Answer> {
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
        let room =
            |call: &[usize]| self.in_flight.acquire_many(u32::try_from(call.len()).unwrap_or(u32::MAX));
        let Some(Fallback { circuit, .. }) = &self.fallback else {
            return Some((room(call).await.ok()?, None));
        };
        let permit = if circuit.is_closed() {
            tokio::select! {
                biased;
                permit = room(call) => permit.ok()?,
                // What fills the room is waiting for a broker that is away.
                () = circuit.opened() => return None,
            }
        } else {
            // Room for one is enough to find out.
            only_the_first(call, later);
            room(call).await.ok()?
        };
        match circuit.ask() {
            Ticket::Free(sent) => Some((permit, Some(sent))),
            Ticket::Probe(sent) => {
                only_the_first(call, later);
                Some((permit, Some(sent)))
            }
            Ticket::No => None,
        }
    }

    /// One call of the transport.
    async fn call(&self, messages: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        let span = trace::span(Path::Direct, &self.name, self.capabilities.name, messages.len());
        let publishing = self.transport.publish(messages).instrument(span.clone());
        let publishing = AssertUnwindSafe(publishing).catch_unwind();
        let ended = Published::begins(Path::Direct);
        let unknown = |text: &str| messages.iter().map(|_| Err(PublishError::unknown(text))).collect();
        let mut results: Vec<_> = match tokio::time::timeout(self.timeout, publishing).await {
            Ok(Ok(results)) => results,
            Ok(Err(_panic)) => unknown("the transport panicked"),
            Err(_elapsed) => unknown("the broker did not answer in time"),
        };
        let ended_at = Instant::now();
        results.resize_with(messages.len(), || Err(PublishError::unknown("the transport gave no result")));
        let published = ended();
        published.trace(&span, messages, &results, self.capabilities.name);
        self.figures.called(&results, published.took);
        self.repeat();
        let is_unknown =
            |result: &Result<(), PublishError>| kind_of(result) == Some(PublishErrorKind::Unknown);
        if results.iter().any(is_unknown) {
            self.reset(ended_at).await;
        }
        results
    }

    /// What the client still holds back must not arrive later. Many calls fail together; one of them resets for all that
    /// had ended by then. Of one that ended later nobody knows what it sent after that.
    async fn reset(&self, ended_at: Instant) {
        let mut begun_at = self.reset_at.lock().await;
        if begun_at.is_some_and(|begun_at| begun_at >= ended_at) {
            return;
        }
        *begun_at = Some(Instant::now());
        let reset = AssertUnwindSafe(self.transport.reset()).catch_unwind();
        if !matches!(tokio::time::timeout(RESET_TIMEOUT, reset).await, Ok(Ok(()))) {
            tracing::warn!(transport = self.capabilities.name, "the client could not be reset");
        }
    }
}

/// Leaves all but the first message of a call for later.
fn only_the_first(call: &mut Vec<usize>, later: &mut Vec<usize>) {
    later.extend(call.drain(1..));
    later.sort_unstable();
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
