//! Results in: what becomes of a message that was sent.

use std::collections::HashSet;

use outbox_core::{DeadReason, MessageId, OrderingKey, Outcome, PublishError, PublishErrorKind};
use tokio::time::Instant;

use super::{Queue, Verdict};
use crate::decide::{Attempt, Situation, Transition, decide};
use crate::destination::entry::{Batch, Entry, Results};
use crate::destination::key::Hold;
use crate::metrics::BatchTally;

impl Queue {
    /// Takes what the transport said about a batch.
    pub(crate) fn complete(&mut self, batch: Batch, results: Results, now: Instant) -> Verdict {
        let mut verdict = Verdict { tally: BatchTally::of(batch.len()), ..Verdict::default() };
        self.in_flight = self.in_flight.saturating_sub(batch.len());
        self.settlements.reserve(batch.len());
        let mut results = results.into_iter();
        let mut failed_keys: HashSet<OrderingKey> = HashSet::new();
        let mut failed = Vec::new();
        for entry in batch.into_entries() {
            let result =
                results.next().unwrap_or_else(|| Err(PublishError::unknown("the transport gave no result")));
            #[cfg(outbox_sabotage)]
            let result = match result {
                Err(error)
                    if error.kind() == PublishErrorKind::Unknown
                        && outbox_core::sabotage::is("unknown-is-delivered") =>
                {
                    Ok(())
                }
                result => result,
            };
            match result {
                Ok(()) => {
                    verdict.answered += 1;
                    verdict.tally.confirmed(&entry.message);
                    self.judge(entry, Attempt::Confirmed, None, Some(now));
                }
                Err(error) => {
                    if let Some(state) = entry.message.ordering_key().and_then(|key| self.keys.get_mut(key)) {
                        state.came_back();
                    }
                    verdict.tally.failed(error.kind());
                    match error.kind() {
                        PublishErrorKind::Unavailable => verdict.unavailable += 1,
                        PublishErrorKind::Unknown => verdict.unknown += 1,
                        _ => verdict.answered += 1,
                    }
                    if verdict.example.is_none() {
                        verdict.example = Some(describe(Some(&error)));
                    }
                    let first = match entry.message.ordering_key() {
                        Some(key) => failed_keys.insert(key.clone()),
                        None => true,
                    };
                    failed.push((entry, error, first));
                }
            }
        }
        if verdict.answered > 0 {
            self.answers += 1;
        }
        // Later messages of a key go back first: the decision about its head decides about them too.
        for (entry, error, first) in failed.into_iter().rev() {
            if first {
                self.judge(entry, Attempt::Failed(error.kind()), Some(error), Some(now));
            } else {
                self.put_back(entry, None);
            }
        }
        self.counters.unknown.add(verdict.unknown);
        verdict
    }

    pub(super) fn judge(
        &mut self,
        entry: Entry,
        attempt: Attempt,
        error: Option<PublishError>,
        now: Option<Instant>,
    ) {
        let meta = &entry.meta;
        if self.owned.epoch(meta.shard) != Some(meta.epoch) {
            self.judge_lost(entry, attempt);
            return;
        }
        let key = entry.message.ordering_key().cloned();
        let transition = decide(Situation {
            attempt,
            attempts: meta.attempts.saturating_add(u16::from(!meta.begun)),
            unknowns: meta.unknowns,
            keyed: key.is_some(),
            max_attempts: entry.message.max_attempts(),
            on_dead: self.policy.on_dead.of(entry.message.topic().as_str()),
            retry: &self.policy.retry,
            random: self.random.f64(),
        });
        if !matches!(transition, Transition::Wait | Transition::Again { .. }) {
            self.careful.finished(entry.message.id());
        }
        match transition {
            Transition::Deliver => {
                self.counters.delivered.add(1);
                self.settle_head(&entry, key, Outcome::Delivered);
            }
            Transition::Wait => self.put_back(entry, None),
            Transition::Again { after } => {
                let mut entry = entry;
                // While the destination answers nobody, an unknown outcome says nothing about the message.
                if entry.meta.unknowns == 0 || self.answers > entry.meta.answers {
                    entry.meta.unknowns = entry.meta.unknowns.saturating_add(1);
                }
                entry.meta.answers = self.answers;
                self.put_back(entry, now.map(|now| now + after));
            }
            Transition::Retry { attempts, after } => {
                self.counters.retried.add(1);
                let error = describe(error.as_ref());
                tracing::debug!(id = %entry.message.id(), attempts, ?after, error, "will be tried again");
                self.settle(&entry.meta, Outcome::Retry { attempts, after, error }, key.clone());
                if let Some(key) = key {
                    self.hold_key(&key, Hold::Retrying { head: *entry.message.id(), seq: entry.meta.seq });
                }
            }
            Transition::Bury { attempts, reason, park } => {
                let parked_behind = park.then(|| *entry.message.id());
                let error = match &entry.meta.defect {
                    Some(defect) => Some(defect.clone()),
                    None => error.as_ref().map(|error| describe(Some(error))),
                };
                self.bury(entry, attempts, reason, error, parked_behind);
            }
        }
    }

    /// A result for a row of a shard that was lost meanwhile. A confirmed one is settled all the same, with the epoch it
    /// was read under: the fence refuses that and it is counted, or nobody has taken the shard over and a duplicate is
    /// avoided.
    pub(super) fn judge_lost(&mut self, entry: Entry, attempt: Attempt) {
        self.careful.finished(entry.message.id());
        if attempt == Attempt::Confirmed {
            self.settle(&entry.meta, Outcome::Delivered, None);
        } else {
            self.forget(entry.meta.row, entry.meta.shard, entry.meta.size);
        }
        if let Some(key) = entry.message.ordering_key() {
            if let Some(state) = self.keys.get_mut(key)
                && attempt == Attempt::Confirmed
            {
                state.came_back();
            }
            self.refresh(key);
        }
    }

    pub(super) fn bury(
        &mut self,
        entry: Entry,
        attempts: u16,
        reason: DeadReason,
        error: Option<String>,
        parked_behind: Option<MessageId>,
    ) {
        self.counters.dead.add(1);
        tracing::debug!(id = %entry.message.id(), %reason, error, "goes to the dead letters");
        let key = entry.message.ordering_key().cloned();
        let outcome = Outcome::Dead { attempts, reason, error, parked_behind };
        match (key, parked_behind) {
            (Some(key), Some(behind)) => {
                self.settle(&entry.meta, outcome, Some(key.clone()));
                self.hold_key(&key, Hold::Parked { behind });
            }
            (key, _) => self.settle_head(&entry, key, outcome),
        }
    }
}

fn describe(error: Option<&PublishError>) -> String {
    let Some(error) = error else { return String::new() };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    // What the table takes; the rest helps nobody.
    if text.len() > 4_000 {
        let end = (0..=4_000).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
