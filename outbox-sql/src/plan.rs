use outbox_core::{Lane, MessageId, Outcome, RowId};

/// The outcomes of a settle, sorted by what has to be done and where: each list becomes one statement (or the two halves
/// of a move).
///
/// What makes no sense is left out, as if the row were gone: a dead letter is not delivered, a fresh row not replayed.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    pub(crate) delivered_fresh: Vec<i64>,
    pub(crate) defer_fresh: Vec<Defer<'a>>,
    pub(crate) defer_deferred: Vec<Defer<'a>>,
    pub(crate) bury_fresh: Vec<Bury<'a>>,
    pub(crate) bury_deferred: Vec<Bury<'a>>,
    /// Delivered or discarded.
    pub(crate) gone_deferred: Vec<i64>,
    pub(crate) replay_deferred: Vec<i64>,
    pub(crate) replay_dead: Vec<i64>,
    pub(crate) discard_dead: Vec<i64>,
}

/// A row that is to wait. Exactly one of these times counts: behind another message, this long from now, or (if neither
/// is set) until its `available_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defer<'a> {
    pub(crate) number: i64,
    /// `None` if no try was made: the number of tries stays, and the time of the last.
    pub(crate) attempts: Option<u16>,
    pub(crate) after: Option<std::time::Duration>,
    /// `None` leaves the text of the last error.
    pub(crate) error: Option<&'a str>,
    pub(crate) behind: Option<MessageId>,
}

/// A row that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bury<'a> {
    pub(crate) number: i64,
    pub(crate) attempts: u16,
    pub(crate) reason: &'static str,
    /// `None` leaves the text of the last error.
    pub(crate) error: Option<&'a str>,
    pub(crate) parked_behind: Option<MessageId>,
}

impl<'a> Plan<'a> {
    pub(crate) fn of(outcomes: &'a [(RowId, Outcome)]) -> Self {
        let mut plan = Self::default();
        for (row, outcome) in outcomes {
            plan.add(*row, outcome);
        }
        plan.delivered_fresh.sort_unstable();
        plan.delivered_fresh.dedup();
        plan
    }

    fn add(&mut self, row: RowId, outcome: &'a Outcome) {
        let number = row.number;
        let waits = Defer { number, attempts: None, after: None, error: None, behind: None };
        match (outcome, row.lane) {
            (Outcome::Delivered, Lane::Fresh) => self.delivered_fresh.push(number),
            (Outcome::Delivered | Outcome::Discard, Lane::Deferred) => self.gone_deferred.push(number),
            (Outcome::Retry { attempts, after, error }, lane) => self.defer(
                lane,
                Defer { attempts: Some(*attempts), after: Some(*after), error: Some(error), ..waits },
            ),
            (Outcome::Begin { attempts }, lane) => {
                let after = Some(std::time::Duration::ZERO);
                self.defer(lane, Defer { attempts: Some(*attempts), after, ..waits });
            }
            (Outcome::Hold { behind }, lane) => self.defer(lane, Defer { behind: Some(*behind), ..waits }),
            (Outcome::Delay, lane) => self.defer(lane, waits),
            (Outcome::Dead { attempts, reason, error, parked_behind }, lane) => {
                let (attempts, reason) = (*attempts, reason.as_str());
                let (error, parked_behind) = (error.as_deref(), *parked_behind);
                self.bury(lane, Bury { number, attempts, reason, error, parked_behind });
            }
            (Outcome::Replay, Lane::Deferred) => self.replay_deferred.push(number),
            (Outcome::Replay, Lane::Dead) => self.replay_dead.push(number),
            (Outcome::Discard, Lane::Dead) => self.discard_dead.push(number),
            _ => {}
        }
    }

    fn defer(&mut self, lane: Lane, defer: Defer<'a>) {
        match lane {
            Lane::Fresh => self.defer_fresh.push(defer),
            Lane::Deferred => self.defer_deferred.push(defer),
            _ => {}
        }
    }

    fn bury(&mut self, lane: Lane, bury: Bury<'a>) {
        match lane {
            Lane::Fresh => self.bury_fresh.push(bury),
            Lane::Deferred => self.bury_deferred.push(bury),
            _ => {}
        }
    }

    /// Whether it is what nearly every settle is: fresh rows that were delivered, and nothing else.
    pub(crate) fn only_delivers_fresh(&self) -> bool {
        !self.delivered_fresh.is_empty()
            && self.defer_fresh.is_empty()
            && self.defer_deferred.is_empty()
            && self.bury_fresh.is_empty()
            && self.bury_deferred.is_empty()
            && self.gone_deferred.is_empty()
            && self.replay_deferred.is_empty()
            && !self.moves_keys()
    }

    /// Whether whole keys may move, so that no other settle may park or release messages of them meanwhile.
    pub(crate) fn moves_keys(&self) -> bool {
        !self.replay_dead.is_empty() || !self.discard_dead.is_empty()
    }
}

/// The bounds of a list that is sorted and has no number twice, if it has every number between them.
///
/// Anything less, and a row that was committed in between would be deleted without ever having been published.
pub(crate) fn range(numbers: &[i64]) -> Option<(i64, i64)> {
    let (&first, &last) = (numbers.first()?, numbers.last()?);
    let rows = i64::try_from(numbers.len()).ok()?;
    (last.checked_sub(first)?.checked_add(1)? == rows).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_core::DeadReason;
    use std::time::Duration;

    #[test]
    fn a_range_has_no_holes() {
        assert_eq!(range(&[4, 5, 6]), Some((4, 6)));
        assert_eq!(range(&[4]), Some((4, 4)));
        assert_eq!(range(&[4, 6]), None);
        assert_eq!(range(&[]), None);
        assert_eq!(range(&[i64::MIN, i64::MAX]), None);
    }

    #[test]
    fn a_number_twice_does_not_close_a_hole() {
        let outcomes = [4, 6, 6].map(|seq| (RowId::fresh(seq), Outcome::Delivered));
        let plan = Plan::of(&outcomes);
        assert_eq!(plan.delivered_fresh, [4, 6]);
        assert_eq!(range(&plan.delivered_fresh), None);
        assert!(plan.only_delivers_fresh());
    }

    #[test]
    fn each_outcome_has_its_list() {
        let behind = MessageId::new();
        let retry = Outcome::Retry { attempts: 2, after: Duration::from_secs(1), error: "no".to_owned() };
        let dead = Outcome::Dead {
            attempts: 3,
            reason: DeadReason::Rejected,
            error: None,
            parked_behind: Some(behind),
        };
        let outcomes = [
            (RowId::fresh(1), Outcome::Delivered),
            (RowId::fresh(2), retry),
            (RowId::deferred(3), Outcome::Begin { attempts: 1 }),
            (RowId::fresh(4), Outcome::Hold { behind }),
            (RowId::fresh(5), Outcome::Delay),
            (RowId::deferred(6), dead),
            (RowId::deferred(7), Outcome::Discard),
            (RowId::dead(8), Outcome::Replay),
        ];
        let plan = Plan::of(&outcomes);
        assert_eq!(plan.delivered_fresh, [1]);
        let waits = Defer { number: 5, attempts: None, after: None, error: None, behind: None };
        assert_eq!(plan.defer_fresh[1], Defer { number: 4, behind: Some(behind), ..waits });
        assert_eq!(plan.defer_fresh[2], waits);
        assert_eq!(plan.defer_deferred[0].after, Some(Duration::ZERO));
        assert_eq!((plan.bury_deferred[0].attempts, plan.bury_deferred[0].reason), (3, "rejected"));
        assert_eq!((&plan.gone_deferred[..], &plan.replay_dead[..]), (&[7][..], &[8][..]));
        assert!(plan.moves_keys() && !plan.only_delivers_fresh());
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let outcomes = [
            (RowId::dead(1), Outcome::Delivered),
            (RowId::dead(1), Outcome::Delay),
            (RowId::fresh(1), Outcome::Replay),
            (RowId::fresh(1), Outcome::Discard),
        ];
        let plan = format!("{:?}", Plan::of(&outcomes));
        assert_eq!(plan, format!("{:?}", Plan::default()));
    }
}
