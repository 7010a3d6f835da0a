//! What the outbox still has, so that no message is published past the earlier ones of its key.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outbox_core::{
    ClaimRequest, ClaimSource, HoldState, OrderingKey, OutboxStore, Scope, Seq, ShardSet, StoreError,
    TopicFilter,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::PublisherConfig;
use super::desk::Desk;
use super::turns::{Others, Place, Turns};

/// An outbox with more rows than this is not nearly empty: nobody waits for it.
const FEW_ROWS: usize = 1_000;
const FEW_BYTES: usize = 1024 * 1024;
/// Keys that do not flow, at most: with more of them nobody can say that a key is not among them.
const MOST_HOLDS: usize = 10_000;
/// The first pause while the relay delivers the last messages of a key; it doubles up to the second.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(16)];
/// How long a key that waits for a retry or an operator is not asked about again.
const STUCK: Duration = Duration::from_secs(1);

pub(super) struct Backlog {
    outbox: Arc<dyn OutboxStore>,
    scope: Scope,
    gate: Mutex<Gate>,
    /// There was nothing when this publisher first looked: an earlier process has left nothing.
    clean_start: AtomicBool,
    /// The first look has ended. Until then nobody knows anything, and the first messages of all keys wait for it.
    first_look: watch::Sender<bool>,
    wait: Duration,
    interval: Duration,
}

/// Whether it is worth to look. While the outbox is full, one call at a time finds out, at intervals.
#[derive(Debug, Default)]
struct Gate {
    nearly_empty: bool,
    looking: bool,
    not_before: Option<Instant>,
}

/// A call that looks.
struct Look<'a> {
    backlog: &'a Backlog,
    alone: bool,
}

/// Keys with messages in the outbox.
#[derive(Debug, Default)]
struct Waiting {
    /// Those that the relay is about to deliver.
    moving: Vec<OrderingKey>,
    /// Those that wait for a time or an operator.
    stuck: Vec<OrderingKey>,
    /// Whether there was nothing at all, without a key either.
    nothing: bool,
    /// The first fresh row.
    first: Option<Seq>,
}

impl Backlog {
    pub(super) fn new(outbox: Arc<dyn OutboxStore>, topics: TopicFilter, config: &PublisherConfig) -> Self {
        Self {
            outbox,
            // However many shards there are.
            scope: Scope { shards: ShardSet::all(ShardSet::MAX), topics },
            gate: Mutex::default(),
            clean_start: AtomicBool::new(false),
            first_look: watch::Sender::new(false),
            wait: config.handover_wait,
            interval: config.handover_interval,
        }
    }

    /// Until when a call may wait that begins now.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        now + self.wait
    }

    /// From now on there is more in it.
    pub(super) fn grows(&self) {
        self.gate().nearly_empty = false;
    }

    /// Whether the outbox has nothing of this key any more, so that its next message may be published at once. The
    /// caller has the turn of the key, so nothing of it is stored meanwhile.
    pub(super) async fn hands_over(
        &self,
        key: &OrderingKey,
        place: &mut Place,
        turns: &Turns,
        deadline: Instant,
        desk: &Desk,
    ) -> bool {
        if self.started_clean(key, place) {
            return true;
        }
        let now = Instant::now();
        if place.not_before.is_some_and(|time| now < time) {
            return false;
        }
        let look = match self.look(now) {
            Some(look) => look,
            None if *self.first_look.borrow() => return false,
            None => {
                let mut first = self.first_look.subscribe();
                // It lives as long as this.
                let _ = tokio::time::timeout_at(deadline, first.wait_for(|ended| *ended)).await;
                if self.started_clean(key, place) {
                    return true;
                }
                let Some(look) = self.look(Instant::now()) else { return false };
                look
            }
        };
        let [mut pause, longest] = PAUSES;
        let mut first = None;
        loop {
            let named = place.others() == Others::Free;
            let waiting = match self.waiting(named.then_some(key)).await {
                Ok(Some(waiting)) => waiting,
                Ok(None) => {
                    look.found(false, self.interval);
                    return false;
                }
                Err(error) => {
                    tracing::debug!(%error, "whether a key is still in the outbox can't be read");
                    look.found(false, self.interval);
                    return false;
                }
            };
            look.found(true, Duration::ZERO);
            if named {
                if waiting.stuck.contains(key) {
                    place.not_before = Some(Instant::now() + STUCK);
                    return false;
                }
                if !waiting.moving.contains(key) {
                    place.release(key);
                    return true;
                }
            } else {
                if waiting.nothing && place.others() == Others::NotLooked {
                    self.clean_start.store(true, Ordering::Relaxed);
                }
                let number = turns.place_of(key);
                let of_this_place = |other: &&OrderingKey| turns.place_of(other) == number;
                if !waiting.moving.iter().any(|other| of_this_place(&other)) {
                    place.others_are_free();
                    place.hold_only(waiting.stuck.iter().filter(of_this_place));
                    return !place.holds(key);
                }
            }
            if Instant::now() + pause > deadline {
                // As long as the relay gets on, each call of a key waits: or it would be fed faster than it delivers.
                let gets_on = first.is_some_and(|first| first != waiting.first);
                look.found(gets_on, if gets_on { Duration::ZERO } else { self.interval });
                return false;
            }
            first.get_or_insert(waiting.first);
            desk.wake();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Whether this is known without a look, because there was nothing at the first one.
    fn started_clean(&self, key: &OrderingKey, place: &mut Place) -> bool {
        if place.others() == Others::NotLooked && self.clean_start.load(Ordering::Relaxed) {
            place.others_are_free();
            return !place.holds(key);
        }
        false
    }

    /// The keys that have messages in the outbox: all, or only this one of those that are not fresh. `None` if there is
    /// too much to tell.
    async fn waiting(&self, key: Option<&OrderingKey>) -> Result<Option<Waiting>, StoreError> {
        // Fresh rows first: one that moves to the deferred table between the two reads is seen by both.
        let request = ClaimRequest {
            scope: self.scope.clone(),
            source: ClaimSource::Fresh { after: 0 },
            limit: FEW_ROWS,
            max_bytes: FEW_BYTES,
        };
        let claim = self.outbox.claim(&request).await?;
        if claim.more {
            return Ok(None);
        }
        let holds = match key {
            Some(key) => self.outbox.holds(&self.scope, Some(std::slice::from_ref(key)), 1).await?,
            None => self.outbox.holds(&self.scope, None, MOST_HOLDS).await?,
        };
        if holds.len() >= MOST_HOLDS {
            return Ok(None);
        }
        let mut waiting = Waiting {
            nothing: claim.rows.is_empty() && holds.is_empty(),
            first: claim.rows.first().map(|row| row.seq),
            ..Waiting::default()
        };
        waiting.moving.extend(claim.rows.iter().filter_map(|row| row.message.ordering_key().cloned()));
        for hold in holds {
            match hold.state {
                HoldState::Releasing { .. } => waiting.moving.push(hold.key),
                _ => waiting.stuck.push(hold.key),
            }
        }
        Ok(Some(waiting))
    }

    fn look(&self, now: Instant) -> Option<Look<'_>> {
        let mut gate = self.gate();
        if gate.nearly_empty {
            return Some(Look { backlog: self, alone: false });
        }
        if gate.looking || gate.not_before.is_some_and(|time| now < time) {
            return None;
        }
        gate.looking = true;
        Some(Look { backlog: self, alone: true })
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look<'_> {
    fn found(&self, nearly_empty: bool, pause: Duration) {
        let mut gate = self.backlog.gate();
        gate.nearly_empty = nearly_empty;
        gate.not_before = Some(Instant::now() + pause);
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        if self.alone {
            self.backlog.gate().looking = false;
            self.backlog.first_look.send_replace(true);
        }
    }
}
