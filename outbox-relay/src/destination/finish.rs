//! Results in: what came of it.

use std::time::Duration;

use outbox_core::{PublishError, Seq, StoreError};
use tokio::time::Instant;

use super::entry::{Batch, Results, Settlement};
use super::queue::Aftermath;
use super::reader::Look;
use super::work::{Event, Found, Job, REQUESTS_PER_READ};
use super::{Destination, FETCH_PAUSE, HOLDS_INTERVAL, LOOK_FAILED_PAUSE};
use crate::breaker::Change;
use crate::leases::LeaseEvent;
use crate::metrics::SettleTally;
use crate::trace::Published;

impl Destination {
    pub(super) fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Published { batch, results, published } => self.published(batch, results, published, now),
            Event::Checked { result } => self.checked(result, now),
            Event::Settled { settlements, settled } => self.settled(settlements, settled, now),
            Event::Read { job, found } => {
                self.reading = false;
                match found {
                    Ok(found) => {
                        self.shared.health.succeeded();
                        self.read_pauses.reset();
                        self.found(job, found, now);
                    }
                    Err(error) => {
                        self.shared.health.failed(&error);
                        self.read_not_before = now + self.read_pauses.next();
                        match job {
                            Job::Held { keys } => self.queue.fetch_failed(&keys),
                            Job::Look(look) => self.reader.look_failed(&look, now + LOOK_FAILED_PAUSE),
                            Job::Holds { .. } => {
                                self.holds_at = now + HOLDS_INTERVAL;
                                self.gain_not_before = now + LOOK_FAILED_PAUSE;
                            }
                        }
                    }
                }
                let written = std::mem::take(&mut self.written);
                self.forget(written, now);
            }
        }
    }

    pub(super) fn published(&mut self, batch: Batch, results: Results, published: Published, now: Instant) {
        self.publishing -= 1;
        let (sent, of_now) = (batch.len(), batch.openings == self.breaker.openings());
        let verdict = self.queue.complete(batch, results, now);
        self.figures.published(&verdict.tally, published.ended_at, published.took);
        if let Some(error) = &verdict.example {
            self.health.failed(error);
        }
        // Calls overlap: one that was confirmed before the broker went away may be heard of after one that failed.
        if !of_now {
            return;
        }
        if verdict.unavailable > 0 {
            self.unavailable(verdict.example.as_deref().unwrap_or_default(), now);
        } else if verdict.answered > 0 {
            self.batch_limit.answered(sent);
            self.available();
        } else if verdict.unknown > 0 {
            self.batch_limit.too_much(sent);
            // One batch may be bad luck; two in a row are a broker that does not answer.
            self.all_unknown += 1;
            if self.all_unknown > 1 && self.breaker.is_closed() {
                self.suspect = true;
                self.open_breaker(verdict.example.as_deref().unwrap_or_default(), now);
            }
            self.breaker.probe_inconclusive(now);
        }
    }

    pub(super) fn checked(&mut self, result: Result<(), PublishError>, now: Instant) {
        self.publishing -= 1;
        match result {
            Ok(()) => self.available(),
            Err(error) => {
                let error = error.to_string();
                self.health.failed(&error);
                self.unavailable(&error, now);
            }
        }
    }

    pub(super) fn available(&mut self) {
        self.all_unknown = 0;
        self.suspect = false;
        if self.breaker.succeeded() == Change::Closed {
            tracing::info!(destination = self.health.name, "the broker takes messages again");
        }
    }

    pub(super) fn unavailable(&mut self, error: &str, now: Instant) {
        self.suspect = false;
        self.open_breaker(error, now);
    }

    pub(super) fn open_breaker(&mut self, error: &str, now: Instant) {
        if self.breaker.unavailable(now) == Change::Opened {
            self.shared.counters.breaker_opened.add(1);
            tracing::error!(
                destination = self.health.name,
                error,
                "the broker is not available; its messages wait"
            );
        }
    }

    pub(super) fn settled(
        &mut self,
        settlements: Vec<Settlement>,
        settled: Result<outbox_core::Settled, StoreError>,
        now: Instant,
    ) {
        self.settling = false;
        let requested = settlements.first().is_some_and(Settlement::is_requested);
        match settled {
            Ok(settled) if settled.stale => {
                self.shared.health.succeeded();
                self.shared.counters.stale_settles.add(1);
                self.figures.stale();
                tracing::warn!(
                    rows = settlements.len(),
                    "a settle was refused: another relay has taken over; it will publish these messages again"
                );
                self.queue.settle_stale(settlements);
                self.settle_not_before = now + Duration::from_millis(100);
                let _ = self.shared.lease_events.send(LeaseEvent::Stale);
            }
            Ok(_) => {
                self.shared.health.succeeded();
                self.settle_pauses.reset();
                if requested {
                    self.request_pauses.reset();
                    self.requests_per_settle = REQUESTS_PER_READ;
                }
                let outcomes = settlements.iter().map(|settlement| &settlement.outcome);
                self.figures.settled(&SettleTally::of(outcomes));
                if self.reading {
                    self.written.extend(settlements);
                } else {
                    self.forget(settlements, now);
                }
            }
            Err(error) if requested => {
                // It may be too much for one transaction; all others go on meanwhile.
                self.shared.health.failed(&error);
                self.requests_not_before = now + self.request_pauses.next();
                self.requests_per_settle = (settlements.len() / 2).max(1);
                tracing::warn!(requests = settlements.len(), %error, "what was asked for could not be carried out");
                self.queue.settle_failed(settlements);
            }
            Err(error) => {
                self.shared.health.failed(&error);
                self.settle_not_before = now + self.settle_pauses.next();
                self.queue.settle_failed(settlements);
            }
        }
    }

    pub(super) fn forget(&mut self, settlements: Vec<Settlement>, now: Instant) {
        if settlements.is_empty() {
            return;
        }
        // They may have been all that a fetch found. Here, because a fetch that ends after its rows were settled has
        // still found them.
        self.fetch_not_before = now;
        let Aftermath { due_in, delayed } = self.queue.settled(settlements);
        if delayed {
            self.reader.asks_next_due(now);
        }
        match due_in {
            Some(Duration::ZERO) => self.reader.is_due(now),
            Some(due_in) => self.reader.falls_due(now + due_in),
            None => {}
        }
    }

    pub(super) fn found(&mut self, job: Job, found: Found, now: Instant) {
        match (job, found) {
            (_, Found::Late { first }) => {
                self.reader.go_back(first);
                self.poller.look_now(now);
            }
            (Job::Look(look), Found::Rows { claim, holds }) => {
                self.queue.take_holds(holds);
                let last = claim.rows.last().map(|row| (row.seq, row.due_position));
                if let Look::Fresh { after, low: None } = look {
                    self.reader.saw(after, claim.rows.iter().map(|row| row.seq));
                }
                let rows = claim.rows.len();
                let new: Vec<Seq> = claim
                    .rows
                    .into_iter()
                    .filter_map(|row| {
                        let seq = row.seq;
                        self.queue.admit(row).then_some(seq)
                    })
                    .collect();
                if let Look::Due { .. } = look {
                    self.reader.due_read(last.and_then(|(_, due)| due), new.len(), claim.more, now);
                } else {
                    self.shared.counters.late_commits.add(self.reader.late(new.into_iter()));
                    self.reader.fresh_read(last.map(|(seq, _)| seq), claim.more);
                    if rows > 0 {
                        self.poller.found_rows(claim.more, now);
                    } else {
                        self.poller.found_nothing(now);
                    }
                }
            }
            (Job::Held { keys }, Found::Rows { claim, .. }) => {
                let read_upto = self.reader.read_upto();
                if !self.queue.fetched(&keys, claim.rows, claim.more, read_upto) {
                    self.fetch_not_before = now + FETCH_PAUSE;
                }
            }
            (Job::Holds { shards, gaining }, Found::Holds(holds)) => self.gain(shards, gaining, holds, now),
            (Job::Look(Look::Sweep { .. }), Found::Seqs(seqs)) => {
                if self.reader.swept(&seqs, &self.queue, now) {
                    self.poller.look_now(now);
                }
            }
            (Job::Look(Look::Backstop { .. }), Found::Seqs(seqs)) => {
                if self.reader.backstop_read(&seqs, &self.queue, now) {
                    self.poller.look_now(now);
                }
            }
            (_, Found::Mark(mark)) => self.reader.marked(mark, now),
            (_, Found::Over(over)) => self.reader.mark_is_over(over, now),
            (_, Found::NextDue(next)) => self.reader.next_due_read(next, now),
            (_, Found::Requests(requests)) => {
                let carried_out = requests.iter().filter(|request| self.queue.carry_out(request)).count();
                let more = requests.len() >= REQUESTS_PER_READ;
                self.reader.requests_read(more, carried_out, now);
            }
            (job, found) => tracing::error!(?job, ?found, "a read found something else than it looked for"),
        }
    }
}
