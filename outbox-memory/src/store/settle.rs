use outbox_core::{DeadReason, Fence, Lane, MessageId, OperatorAction, OrderingKey, Outcome, RowId, Settled};

use super::tables::{Dead, Deferred, Row, Tables};
use crate::clock::{Micros, duration_micros, micros};

impl Tables {
    pub(crate) fn settle(&mut self, fence: &Fence, outcomes: &[(RowId, Outcome)], now: Micros) -> Settled {
        if !self.holds_fence(fence) {
            return Settled { applied: 0, stale: true };
        }
        let mut applied = 0;
        // What operators asked for comes last, whole keys at the very end: a message that is discarded in the same
        // settle is not taken along by the replay of its key.
        let mut unparked = Vec::new();
        for (id, outcome) in outcomes {
            applied += match outcome {
                Outcome::Discard => u64::from(self.discard(*id, &mut unparked)),
                Outcome::Replay => 0,
                outcome => u64::from(self.decide(*id, outcome, now)),
            };
        }
        for (id, outcome) in outcomes {
            if *outcome == Outcome::Replay {
                applied += u64::from(self.replay(*id, &mut unparked, now));
            }
        }
        for (key, behind) in unparked {
            applied += self.unpark(&key, behind);
        }
        Settled { applied, stale: false }
    }

    /// Everything that concerns the one row only. Says whether the row was there.
    fn decide(&mut self, id: RowId, outcome: &Outcome, now: Micros) -> bool {
        match outcome {
            Outcome::Delivered => match id.lane {
                Lane::Fresh => self.fresh.remove(&id.number).is_some(),
                Lane::Deferred => {
                    let gone = self.deferred.remove(&id.number);
                    gone.map(|gone| self.forget_request(gone.row.id(), None)).is_some()
                }
                _ => false,
            },
            Outcome::Retry { attempts, after, error } => self.defer(id, |deferred| {
                deferred.due_at = Some(now.saturating_add(duration_micros(*after)));
                deferred.held_behind = None;
                deferred.attempts = *attempts;
                deferred.last_attempt_at = Some(now);
                deferred.last_error = Some(error.clone());
            }),
            Outcome::Begin { attempts } => self.defer(id, |deferred| {
                deferred.due_at = Some(now);
                deferred.held_behind = None;
                deferred.attempts = *attempts;
                deferred.last_attempt_at = Some(now);
            }),
            Outcome::Hold { behind } => self.defer(id, |deferred| {
                deferred.due_at = None;
                deferred.held_behind = Some(*behind);
            }),
            Outcome::Delay => self.defer(id, |deferred| {
                deferred.due_at = Some(deferred.row.message.available_at().map_or(now, micros));
                deferred.held_behind = None;
            }),
            Outcome::Dead { attempts, reason, error, parked_behind } => {
                self.bury(id, *attempts, *reason, error.clone(), *parked_behind, now)
            }
            _ => false,
        }
    }

    /// Puts a row into the deferred table, or changes it there.
    fn defer(&mut self, id: RowId, change: impl FnOnce(&mut Deferred)) -> bool {
        match id.lane {
            Lane::Fresh => {
                let Some(row) = self.fresh.remove(&id.number) else {
                    return false;
                };
                let mut deferred = Deferred::due(row, 0);
                change(&mut deferred);
                let number = self.next_number();
                self.deferred.insert(number, deferred);
                true
            }
            Lane::Deferred => self.deferred.get_mut(&id.number).map(change).is_some(),
            _ => false,
        }
    }

    fn bury(
        &mut self,
        id: RowId,
        attempts: u16,
        reason: DeadReason,
        error: Option<String>,
        parked_behind: Option<MessageId>,
        now: Micros,
    ) -> bool {
        let (row, earlier_error) = match id.lane {
            Lane::Fresh => (self.fresh.remove(&id.number), None),
            Lane::Deferred => match self.deferred.remove(&id.number) {
                Some(deferred) => (Some(deferred.row), deferred.last_error),
                None => (None, None),
            },
            _ => (None, None),
        };
        let Some(row) = row else { return false };
        let dead = Dead {
            row,
            reason: reason.as_str(),
            attempts,
            last_error: error.or(earlier_error),
            died_at: now,
            parked_behind,
        };
        let number = self.next_number();
        self.dead.insert(number, dead);
        true
    }

    fn discard(&mut self, id: RowId, unparked: &mut Vec<(OrderingKey, MessageId)>) -> bool {
        let row = match id.lane {
            Lane::Dead => self.dead.remove(&id.number).map(|dead| {
                if dead.parked_behind == Some(dead.row.id()) {
                    unparked.extend(dead.row.key().cloned().zip(dead.parked_behind));
                }
                dead.row
            }),
            Lane::Deferred => self.deferred.remove(&id.number).map(|deferred| deferred.row),
            _ => None,
        };
        row.map(|row| self.forget_request(row.id(), None)).is_some()
    }

    fn replay(&mut self, id: RowId, unparked: &mut Vec<(OrderingKey, MessageId)>, now: Micros) -> bool {
        match id.lane {
            Lane::Dead => {
                let Some(dead) = self.dead.get(&id.number) else {
                    return false;
                };
                if let (Some(behind), Some(key)) = (dead.parked_behind, dead.row.key()) {
                    // Counted when its whole key moves.
                    unparked.push((key.clone(), behind));
                    return false;
                }
                self.revive(id.number, |row| Deferred::due(row, now))
            }
            Lane::Deferred => {
                let Some(deferred) = self.deferred.get_mut(&id.number) else {
                    return false;
                };
                if deferred.due_at.is_some() {
                    deferred.due_at = Some(now);
                }
                let id = deferred.row.id();
                self.forget_request(id, Some(OperatorAction::Replay));
                true
            }
            _ => false,
        }
    }

    /// Moves what of a key was parked behind this message to the deferred table. All of it is held, the head too: the
    /// relay releases it in the order of `seq`, and nothing that is written meanwhile overtakes it.
    fn unpark(&mut self, key: &OrderingKey, behind: MessageId) -> u64 {
        let parked = |dead: &Dead| dead.parked_behind == Some(behind) && dead.row.key() == Some(key);
        let numbers: Vec<i64> =
            self.dead.iter().filter(|(_, dead)| parked(dead)).map(|(number, _)| *number).collect();
        let mut moved = 0;
        for number in numbers {
            moved += u64::from(self.revive(number, |row| Deferred {
                due_at: None,
                held_behind: Some(behind),
                ..Deferred::due(row, 0)
            }));
        }
        moved
    }

    fn revive(&mut self, number: i64, deferred: impl FnOnce(Row) -> Deferred) -> bool {
        let Some(dead) = self.dead.remove(&number) else {
            return false;
        };
        self.forget_request(dead.row.id(), Some(OperatorAction::Replay));
        let number = self.next_number();
        self.deferred.insert(number, deferred(dead.row));
        true
    }

    fn forget_request(&mut self, id: MessageId, action: Option<OperatorAction>) {
        self.requests
            .retain(|(asked, wanted)| *asked != id || action.is_some_and(|action| action != *wanted));
    }
}
