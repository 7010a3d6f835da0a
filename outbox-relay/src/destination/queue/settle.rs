//! Settlements out: decisions on their way to the database.

use std::collections::HashMap;

use outbox_core::{Lane, OperatorAction, OperatorRequest, OrderingKey, Outcome, Seq, ShardId};

use super::{Aftermath, Queue};
use crate::destination::entry::{Meta, Settlement};
use crate::destination::key::{Fetch, Hold, Key};
use crate::destination::owned::Owned;

impl Queue {
    pub(super) fn settle(&mut self, meta: &Meta, outcome: Outcome, awaited_by: Option<OrderingKey>) {
        if let Some(state) = awaited_by.as_ref().and_then(|key| self.keys.get_mut(key)) {
            state.writing += 1;
        }
        self.settlements.push(meta.settlement(outcome, awaited_by));
    }

    /// Carries out what an operator asked for, unless the row is under way. Says whether it does.
    pub(crate) fn carry_out(&mut self, request: &OperatorRequest) -> bool {
        let OperatorRequest { row, shard, .. } = *request;
        let outcome = match request.action {
            OperatorAction::Replay => Outcome::Replay,
            OperatorAction::Discard => Outcome::Discard,
            _ => return false,
        };
        let Some(epoch) = self.owned.epoch(shard) else {
            return false;
        };
        if self.leaving.contains(shard) || !self.known.insert(row) {
            return false;
        }
        if let Some(rows) = self.per_shard.get_mut(usize::from(request.shard)) {
            *rows += 1;
        }
        if outcome == Outcome::Discard {
            // Where its try is counted and its row to be read again, it will not be.
            self.careful.finished(&request.id);
        }
        let awaited_by = request.key.as_ref().filter(|key| self.release(key, request)).cloned();
        self.requests.push(Settlement { row, shard, epoch, outcome, awaited_by, size: 0 });
        true
    }

    /// Lets a key go on once the request is written. Until then what is read of it waits behind what the request brings
    /// back, and would otherwise be parked by a settle after that. Says whether the request releases the key.
    fn release(&mut self, key: &OrderingKey, request: &OperatorRequest) -> bool {
        let known = self.keys.get(key).map(|state| state.hold);
        let released = match (request.action, request.row.lane) {
            // Of a parked key all is replayed.
            (OperatorAction::Replay, _) => request.parked,
            (_, Lane::Dead) => request.stops_key,
            _ => match known {
                Some(Hold::Retrying { head, .. }) => head == request.id,
                Some(Hold::Parked { .. }) => false,
                Some(Hold::Free | Hold::Releasing { .. }) | None => true,
            },
        };
        if released {
            let state = self.keys.entry(key.clone()).or_insert_with(|| Key::new(request.shard));
            state.writing += 1;
            // Behind one that is tried again everything waits, whatever comes back of the key.
            if !matches!(state.hold, Hold::Retrying { head, .. } if head != request.id) {
                state.hold = Hold::Releasing { behind: None, first: Seq::MIN };
                state.fetch = Fetch::Wanted;
            }
        }
        released
    }

    /// The next decisions to be written.
    pub(crate) fn take_settlements(&mut self, most: usize) -> Vec<Settlement> {
        take(&mut self.settlements, &self.owned, most)
    }

    /// What operators have asked for and is to be written next.
    pub(crate) fn take_requests(&mut self, most: usize) -> Vec<Settlement> {
        take(&mut self.requests, &self.owned, most)
    }

    /// The settlements were written.
    pub(crate) fn settled(&mut self, settlements: Vec<Settlement>) -> Aftermath {
        let mut aftermath = Aftermath::default();
        let mut due = |after: std::time::Duration| {
            aftermath.due_in = Some(aftermath.due_in.map_or(after, |known| known.min(after)));
        };
        for Settlement { row, shard, outcome, awaited_by, size, .. } in settlements {
            self.forget(row, shard, size);
            match outcome {
                Outcome::Retry { after, .. } => due(after),
                Outcome::Begin { .. } | Outcome::Replay | Outcome::Discard => due(std::time::Duration::ZERO),
                Outcome::Delay => aftermath.delayed = true,
                _ => {}
            }
            if let Some(key) = awaited_by {
                self.written(&key, &outcome);
            }
        }
        aftermath
    }

    /// The settlements could not be written; they are tried again.
    pub(crate) fn settle_failed(&mut self, mut settlements: Vec<Settlement>) {
        let requested = settlements.first().is_some_and(Settlement::is_requested);
        let waiting = if requested { &mut self.requests } else { &mut self.settlements };
        settlements.append(waiting);
        *waiting = settlements;
        if requested {
            // A shard that is being handed over does not wait for them.
            let leaving: Vec<ShardId> = self.leaving.iter().collect();
            leaving.into_iter().for_each(|shard| self.forget_requests(shard));
        }
    }

    /// Forgets what operators have asked for of a shard that goes to another relay, which reads it again.
    pub(super) fn forget_requests(&mut self, shard: ShardId) {
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.requests).into_iter().partition(|request| request.shard == shard);
        self.requests = kept;
        for Settlement { row, shard, outcome, awaited_by, size, .. } in gone {
            self.forget(row, shard, size);
            if let Some(key) = awaited_by {
                self.written(&key, &outcome);
            }
        }
    }

    /// The fence refused the settlements. Those of shards that are lost are given up; the others are tried again.
    pub(crate) fn settle_stale(&mut self, settlements: Vec<Settlement>) {
        let mut again = Vec::new();
        for settlement in settlements {
            if self.owned.epoch(settlement.shard) == Some(settlement.epoch) {
                again.push(settlement);
                continue;
            }
            self.counters.stale_rows.add(1);
            self.forget(settlement.row, settlement.shard, settlement.size);
            if let Some(key) = settlement.awaited_by {
                self.written(&key, &settlement.outcome);
            }
        }
        self.settle_failed(again);
    }

    pub(super) fn written(&mut self, key: &OrderingKey, outcome: &Outcome) {
        if let Some(state) = self.keys.get_mut(key) {
            state.writing = state.writing.saturating_sub(1);
            if matches!(outcome, Outcome::Dead { parked_behind: None, .. }) {
                state.burying = state.burying.saturating_sub(1);
            }
        }
        self.refresh(key);
    }
}

/// At most so many of them. A fence has one epoch per shard, so those that were made under an earlier one go in a settle of
/// their own, for the fence to refuse.
fn take(waiting: &mut Vec<Settlement>, owned: &Owned, most: usize) -> Vec<Settlement> {
    let is_current = |settlement: &Settlement| owned.epoch(settlement.shard) == Some(settlement.epoch);
    if !waiting.iter().all(is_current) {
        let (current, former): (Vec<_>, Vec<_>) = std::mem::take(waiting).into_iter().partition(is_current);
        let mut epochs = HashMap::new();
        let (chosen, mut rest): (Vec<_>, Vec<_>) = former.into_iter().partition(|settlement| {
            *epochs.entry(settlement.shard).or_insert(settlement.epoch) == settlement.epoch
        });
        rest.extend(current);
        *waiting = rest;
        return chosen;
    }
    if waiting.len() <= most {
        return std::mem::take(waiting);
    }
    let rest = waiting.split_off(most);
    std::mem::replace(waiting, rest)
}

#[cfg(test)]
mod tests {
    use outbox_core::{OutboxMessage, RowId, StoredMessage};

    use super::*;

    #[test]
    fn a_message_that_is_discarded_is_not_awaited() {
        let mut queue = Queue::for_tests();
        let shard = 1;
        queue.gain(8, shard, 3, true);
        let message = OutboxMessage::bytes("orders", "1").unwrap().build().unwrap();
        let id = *message.id();
        queue.admit(StoredMessage::fresh(7, shard, message));
        assert!(queue.next_batch(1).is_empty(), "its try is counted first");
        let begun = queue.take_settlements(1);
        queue.settled(begun);
        assert!(queue.awaits_deferred_row());
        let action = OperatorAction::Discard;
        let (row, key) = (RowId::deferred(1), None);
        assert!(queue.carry_out(&OperatorRequest {
            row,
            shard,
            id,
            key,
            parked: false,
            stops_key: false,
            action
        }));
        assert!(!queue.awaits_deferred_row());
    }
}
