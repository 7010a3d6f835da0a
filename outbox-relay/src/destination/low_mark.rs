use outbox_core::{LateCommitMark, Seq};
use tokio::time::Instant;

/// The number up to which nothing can be committed any more that was not there before.
///
/// It moves to a mark that the database gave, once no transaction is left that could commit below it and one more sweep
/// has run; and along numbers that were all read, one after the other, because none of those can come late.
///
/// The first mark is taken before anything is read, and in a backlog the next one as soon as it is cheap: otherwise each
/// read would be followed by a look at all that was read and deleted in between.
#[derive(Debug)]
pub(super) struct LowMark {
    /// Whether anything is ever late.
    late_commits: bool,
    seq: Seq,
    next: Option<LateCommitMark>,
    /// Whether a next one is wanted at once, from this time on: at the start, and in a backlog.
    wanted: bool,
    wanted_at: Instant,
    /// When the read that is under way began.
    began: Instant,
}

/// What is known of the place where it moves next.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// The database was not asked.
    Unknown,
    /// Somebody may still commit below it.
    Waits(&'a LateCommitMark),
    /// Nobody can, and it moves there after one more sweep.
    Passed,
}

/// The marks of a backlog may take a twentieth of the time: a pause after each that is so many times as long.
const PAUSES_PER_MARK: u32 = 20;

impl LowMark {
    pub(super) const fn new(late_commits: bool, now: Instant) -> Self {
        Self { late_commits, seq: 0, next: None, wanted: late_commits, wanted_at: now, began: now }
    }

    pub(super) const fn seq(&self) -> Seq {
        self.seq
    }

    /// Where a look for what came late begins, if anything below this place can be.
    pub(super) fn below(&self, cursor: Seq) -> Option<Seq> {
        (self.late_commits && self.seq < cursor).then_some(self.seq)
    }

    /// Rows with these numbers were read forward from here.
    pub(super) fn saw(&mut self, after: Seq, seqs: impl Iterator<Item = Seq>) {
        if self.seq < after {
            return;
        }
        for seq in seqs {
            if seq == self.seq + 1 {
                self.seq = seq;
            } else if seq > self.seq {
                break;
            }
        }
    }

    pub(super) const fn wants_next(&mut self) {
        self.wanted = true;
    }

    /// Whether the database is to be asked, whatever the sweeps do.
    pub(super) fn is_next_wanted(&self, now: Instant) -> bool {
        self.wanted && self.next.is_none() && self.wanted_at <= now
    }

    pub(super) const fn begins(&mut self, now: Instant) {
        self.began = now;
    }

    pub(super) fn found_next(&mut self, mark: LateCommitMark, now: Instant) {
        self.wanted = false;
        self.wanted_at = now + now.saturating_duration_since(self.began) * PAUSES_PER_MARK;
        self.next = Some(mark);
    }

    /// The database did not answer; it is not asked again before this time.
    pub(super) fn failed(&mut self, later: Instant) {
        self.wanted_at = self.wanted_at.max(later);
    }

    pub(super) fn next(&self) -> Next<'_> {
        match &self.next {
            None => Next::Unknown,
            Some(mark) if mark.holders.is_empty() => Next::Passed,
            Some(mark) => Next::Waits(mark),
        }
    }

    pub(super) fn next_is_passed(&mut self) {
        if let Some(mark) = &mut self.next {
            mark.holders.clear();
        }
    }

    pub(super) fn moves_to_next(&mut self) {
        if let Some(mark) = self.next.take() {
            self.seq = self.seq.max(mark.seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_moves_along_numbers_that_follow_each_other() {
        let mut low = LowMark::new(true, Instant::now());
        low.saw(0, [1, 2, 4, 5].into_iter());
        assert_eq!((low.seq(), low.below(5), low.below(2)), (2, Some(2), None));
        low.saw(5, [6].into_iter());
        assert_eq!(low.seq(), 2, "what lies between was not read");
        low.saw(1, [2, 3, 4, 7].into_iter());
        assert_eq!(low.seq(), 4);
    }

    #[test]
    fn it_moves_to_a_mark_that_nobody_can_commit_below() {
        let now = Instant::now();
        let mut low = LowMark::new(true, now);
        assert!(low.is_next_wanted(now) && matches!(low.next(), Next::Unknown));
        low.begins(now);
        let mut mark = LateCommitMark::passed(7);
        mark.holders.push("a transaction".into());
        low.found_next(mark, now + Duration::from_millis(10));
        assert!(matches!(low.next(), Next::Waits(mark) if mark.seq == 7));
        low.next_is_passed();
        assert!(matches!(low.next(), Next::Passed));
        low.moves_to_next();
        assert_eq!(low.seq(), 7);
        low.wants_next();
        assert!(!low.is_next_wanted(now + Duration::from_millis(200)), "the last one took 10 ms");
        assert!(low.is_next_wanted(now + Duration::from_millis(210)));
    }

    #[test]
    fn where_nothing_is_late_no_mark_is_wanted() {
        let now = Instant::now();
        let low = LowMark::new(false, now);
        assert_eq!((low.below(9), low.is_next_wanted(now)), (None, false));
    }
}
