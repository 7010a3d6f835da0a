use std::time::Duration;

use outbox_core::{DuePosition, LateCommitMark, RowId, Seq};
use tokio::time::Instant;

use super::low_mark::{LowMark, Next};
use super::queue::Queue;

/// Where the next read begins, and when the reads that look back are due.
///
/// * The **cursor** is a short cut: fresh rows are read forward from it, never from the start of the table.
/// * The **sweep** looks at what lies between the low mark and the cursor: rows that became visible after a later one
///   had been read. It compares numbers with what is in memory; if one is missing, the cursor goes back to it.
/// * **Each read with keys is followed by such a look**, before anything of it is taken: whoever committed the message
///   that was read may have committed an earlier one of its key, below the cursor, since the last look.
/// * Below the [low mark](LowMark) there is nothing to look back for.
/// * The **backstop** looks at the whole table, a page at a time, whatever is believed about it: restored dumps, reset
///   sequences, prepared transactions.
#[derive(Debug)]
pub(crate) struct Reader {
    config: ReaderConfig,
    cursor: Seq,
    /// The furthest that the cursor has been: what is read for the first time below it is late.
    furthest: Seq,
    /// Whether the last look forward found the end.
    at_end: bool,
    low: LowMark,
    sweep: Option<Sweep>,
    sweep_at: Instant,
    backstop: Option<Seq>,
    backstop_at: Instant,
    due_after: Option<DuePosition>,
    due_at: Option<Instant>,
    due_check_at: Instant,
    requests_at: Instant,
}

#[derive(Debug, Clone)]
pub(crate) struct ReaderConfig {
    pub(crate) late_commits: bool,
    pub(crate) sweep_interval: Duration,
    pub(crate) backstop_interval: Duration,
    /// Numbers per page of a sweep.
    pub(crate) page: usize,
    /// How often operators' requests are looked for.
    pub(crate) requests_interval: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Sweep {
    after: Seq,
    upto: Seq,
    started: Instant,
    /// Whether the mark had passed when it began: then it is the last one that is needed up to the mark.
    last_for_mark: bool,
}

/// A read to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// With `low`, and if there are keys among the rows, also what was committed between there and the cursor.
    Fresh {
        after: Seq,
        low: Option<Seq>,
    },
    Mark,
    MarkOver {
        mark: LateCommitMark,
    },
    Sweep {
        after: Seq,
        upto: Seq,
    },
    Backstop {
        after: Seq,
        upto: Seq,
    },
    Due {
        after: Option<DuePosition>,
    },
    NextDue,
    Requests,
}

/// A sweep may take a twentieth of the time; beyond that it runs less often, up to this.
const LONGEST_SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// A page of the backstop per second: 5,000 rows a second cost next to nothing.
const BACKSTOP_PAGE_INTERVAL: Duration = Duration::from_secs(1);
/// Before a page of requests is read again of which none could be carried out yet.
const REQUESTS_PAUSE: Duration = Duration::from_millis(100);
/// The time of the next due row is known from the rows this relay deferred; this is for those it did not.
const DUE_CHECK_INTERVAL: Duration = Duration::from_secs(30);

impl Reader {
    pub(crate) fn new(config: ReaderConfig, now: Instant) -> Self {
        Self {
            cursor: 0,
            furthest: 0,
            at_end: false,
            low: LowMark::new(config.late_commits, now),
            sweep: None,
            sweep_at: now + config.sweep_interval,
            backstop: None,
            backstop_at: now + config.backstop_interval,
            due_after: None,
            due_at: None,
            due_check_at: now,
            requests_at: now,
            config,
        }
    }

    /// The table is read from the start, because a shard was gained. Rows in memory are recognised. Looks back end here:
    /// what they find of the gained shard would overtake the earlier rows that are only now read.
    pub(crate) fn rewind(&mut self, now: Instant) {
        self.cursor = 0;
        self.furthest = 0;
        self.sweep = None;
        self.backstop = None;
        self.at_end = false;
        self.due_after = None;
        self.due_check_at = now;
        self.requests_at = now;
    }

    /// Whether everything that was visible and due has been read.
    pub(crate) fn is_at_end(&self, now: Instant) -> bool {
        let none_due = self.due_at.is_none_or(|at| at > now) && self.due_check_at > now;
        self.at_end && none_due
    }

    pub(crate) fn falls_due(&mut self, at: Instant) {
        self.due_at = Some(self.due_at.map_or(at, |known| known.min(at)));
    }

    /// Something was made due just now. It may have the same time as the last one that was read, and a lower number: many
    /// clocks count milliseconds. So it is looked for from the start.
    pub(crate) fn is_due(&mut self, now: Instant) {
        self.due_after = None;
        self.falls_due(now);
    }

    /// The look back or aside that is due now, if any; forward looks are up to the poller.
    pub(crate) fn next_look(&mut self, now: Instant, room_for_due: usize) -> Option<Look> {
        if room_for_due > 0 && self.due_at.is_some_and(|at| at <= now) {
            return Some(Look::Due { after: self.due_after });
        }
        if self.due_check_at <= now {
            return Some(Look::NextDue);
        }
        if self.requests_at <= now {
            return Some(Look::Requests);
        }
        if let Some(look) = self.next_sweep(now) {
            return Some(look);
        }
        if self.backstop_at <= now {
            let after = self.backstop.unwrap_or(0);
            return Some(Look::Backstop { after, upto: self.cursor });
        }
        None
    }

    fn next_sweep(&mut self, now: Instant) -> Option<Look> {
        if let Some(Sweep { after, upto, .. }) = self.sweep {
            return Some(Look::Sweep { after, upto });
        }
        #[cfg(outbox_sabotage)]
        if outbox_core::sabotage::is("no-sweep") {
            return None;
        }
        if self.low.is_next_wanted(now) {
            return Some(Look::Mark);
        }
        if self.low.below(self.cursor).is_none() || self.sweep_at > now {
            return None;
        }
        Some(match self.low.next() {
            Next::Unknown => Look::Mark,
            Next::Waits(mark) => Look::MarkOver { mark: mark.clone() },
            Next::Passed => self.start_sweep(now),
        })
    }

    fn start_sweep(&mut self, now: Instant) -> Look {
        let last_for_mark = matches!(self.low.next(), Next::Passed);
        let (after, upto) = (self.low.seq(), self.cursor);
        self.sweep = Some(Sweep { after, upto, started: now, last_for_mark });
        Look::Sweep { after, upto }
    }

    /// Forward from the cursor.
    pub(crate) fn look_forward(&self) -> Look {
        #[cfg(outbox_sabotage)]
        if outbox_core::sabotage::is("no-sweep") {
            return Look::Fresh { after: self.cursor, low: None };
        }
        Look::Fresh { after: self.cursor, low: self.low.below(self.cursor) }
    }

    /// How many of these rows, which were not known before, a later one had been read before.
    pub(crate) fn late(&self, seqs: impl Iterator<Item = Seq>) -> usize {
        seqs.filter(|seq| *seq <= self.furthest).count()
    }

    /// Every fresh row up to this place that was visible has been read since the last rewind.
    pub(crate) fn read_upto(&self) -> Seq {
        if self.at_end { Seq::MAX } else { self.cursor }
    }

    /// When something is due that is not due now.
    pub(crate) fn next_time(&self, room_for_due: usize) -> Instant {
        let sweeping = self.low.below(self.cursor).is_some();
        [
            Some(self.due_check_at),
            Some(self.requests_at),
            Some(self.backstop_at),
            // Without room due rows can't be taken; the settle that makes room comes first.
            self.due_at.filter(|_| room_for_due > 0),
            sweeping.then_some(self.sweep_at),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.due_check_at)
    }

    /// A read begins.
    pub(crate) fn begins(&mut self, now: Instant) {
        self.low.begins(now);
    }

    /// These rows were read forward from here, and nothing below them was looked at.
    pub(crate) fn saw(&mut self, after: Seq, seqs: impl Iterator<Item = Seq>) {
        self.low.saw(after, seqs);
    }

    pub(crate) fn fresh_read(&mut self, last: Option<Seq>, more: bool) {
        if let Some(last) = last {
            self.cursor = self.cursor.max(last);
            self.furthest = self.furthest.max(last);
        }
        self.at_end = !more;
        if more && self.low.below(self.cursor).is_some() {
            self.low.wants_next();
        }
    }

    pub(crate) fn marked(&mut self, mark: LateCommitMark, now: Instant) {
        self.low.found_next(mark, now);
        self.start_sweep(now);
    }

    pub(crate) fn mark_is_over(&mut self, over: bool, now: Instant) {
        if over {
            self.low.next_is_passed();
        }
        self.start_sweep(now);
    }

    /// Goes back to the first of these rows below the cursor that is not in memory, and says whether there is one.
    ///
    /// Going back, and not reading just those rows: they were seen at different times, and between two of them an
    /// earlier message of the same key may have come that only the later look would have found.
    pub(crate) fn goes_back(&mut self, seqs: &[Seq], queue: &Queue) -> bool {
        let cursor = self.cursor;
        let is_late = |seq: &&Seq| **seq <= cursor && !queue.knows(RowId::fresh(**seq));
        let first = seqs.iter().find(is_late);
        if let Some(first) = first {
            self.go_back(*first);
        }
        first.is_some()
    }

    /// The next look forward begins with this row.
    pub(crate) fn go_back(&mut self, first: Seq) {
        self.cursor = self.cursor.min(first - 1);
        self.at_end = false;
    }

    /// A page of a sweep was read. Says whether it found a late commit.
    pub(crate) fn swept(&mut self, seqs: &[Seq], queue: &Queue, now: Instant) -> bool {
        let found = self.goes_back(seqs, queue);
        let Some(sweep) = &mut self.sweep else {
            return found;
        };
        if seqs.len() >= self.config.page
            && let Some(last) = seqs.last()
        {
            sweep.after = *last;
            return found;
        }
        let took = now.saturating_duration_since(sweep.started);
        if sweep.last_for_mark {
            self.low.moves_to_next();
        }
        self.sweep = None;
        self.sweep_at = now + (took * 20).clamp(self.config.sweep_interval, LONGEST_SWEEP_INTERVAL);
        found
    }

    /// A page of the backstop was read. Says whether it found a row that nobody had.
    pub(crate) fn backstop_read(&mut self, seqs: &[Seq], queue: &Queue, now: Instant) -> bool {
        let found = self.goes_back(seqs, queue);
        if seqs.len() >= self.config.page {
            self.backstop = seqs.last().copied();
            self.backstop_at = now + BACKSTOP_PAGE_INTERVAL;
        } else {
            self.backstop = None;
            self.backstop_at = now + self.config.backstop_interval;
            // Deferred rows that were restored or repaired by hand are behind the position too.
            self.due_after = None;
            self.due_check_at = now;
        }
        found
    }

    pub(crate) fn due_read(&mut self, last: Option<DuePosition>, admitted: usize, more: bool, now: Instant) {
        if last.is_some() {
            self.due_after = last;
        }
        if !more {
            self.due_at = None;
            // Rows in memory stay due until they are settled; asking again at once would find only those.
            let pause = if admitted == 0 { Duration::from_secs(1) } else { Duration::ZERO };
            self.due_check_at = now + pause;
        }
    }

    pub(crate) fn next_due_read(&mut self, next: Option<Duration>, now: Instant) {
        if let Some(next) = next {
            if next.is_zero() {
                // Rows that are due and not read: behind the position, or not yet read at all.
                self.due_after = None;
            }
            self.falls_due(now + next);
        }
        self.due_check_at = now + DUE_CHECK_INTERVAL;
    }

    /// Operators' requests were read, of which so many are carried out now; `more` if there may be more.
    pub(crate) fn requests_read(&mut self, more: bool, carried_out: usize, now: Instant) {
        self.requests_at = now
            + match (more, carried_out) {
                (false, _) => self.config.requests_interval,
                // Those that are under way are read again until their settle is written.
                (true, 0) => REQUESTS_PAUSE.min(self.config.requests_interval),
                (true, _) => Duration::ZERO,
            };
    }

    /// A look failed. What is not a look forward gets its next turn later, for the database may answer all others.
    pub(crate) fn look_failed(&mut self, look: &Look, later: Instant) {
        match look {
            Look::Fresh { .. } => {}
            Look::Mark | Look::MarkOver { .. } | Look::Sweep { .. } => {
                self.sweep = None;
                self.sweep_at = later;
                self.low.failed(later);
            }
            Look::Backstop { .. } => self.backstop_at = later,
            Look::Due { .. } => self.due_at = Some(later),
            Look::NextDue => self.due_check_at = later,
            Look::Requests => self.requests_at = later,
        }
    }

    /// Asks the table when the next row falls due.
    pub(crate) fn asks_next_due(&mut self, now: Instant) {
        self.due_check_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reader(now: Instant) -> Reader {
        let config = ReaderConfig {
            late_commits: true,
            sweep_interval: SECOND,
            backstop_interval: 60 * SECOND,
            page: 100,
            requests_interval: 60 * SECOND,
        };
        let mut reader = Reader::new(config, now);
        reader.next_due_read(None, now);
        reader.requests_read(false, 0, now);
        reader
    }

    /// Reads rows with these numbers forward.
    fn read(reader: &mut Reader, seqs: &[Seq], more: bool, now: Instant) {
        let Look::Fresh { after, low } = reader.look_forward() else { panic!("no look forward") };
        reader.begins(now);
        if low.is_none() {
            reader.saw(after, seqs.iter().copied());
        }
        reader.fresh_read(seqs.last().copied(), more);
    }

    fn mark(reader: &mut Reader, seq: Seq, took: Duration, now: Instant) {
        assert_eq!(reader.next_look(now, 1), Some(Look::Mark));
        reader.begins(now);
        reader.marked(LateCommitMark::passed(seq), now + took);
    }

    fn looks_back(reader: &Reader) -> bool {
        matches!(reader.look_forward(), Look::Fresh { low: Some(_), .. })
    }

    #[test]
    fn before_the_first_read_a_mark_says_below_what_nothing_is_late() {
        let now = Instant::now();
        let mut reader = reader(now);
        mark(&mut reader, 500, Duration::ZERO, now);
        assert_eq!(reader.next_look(now, 1), Some(Look::Sweep { after: 0, upto: 0 }), "nothing was read yet");
        reader.swept(&[], &Queue::for_tests(), now);
        assert_eq!(reader.next_look(now, 1), None);
        read(&mut reader, &[2, 9, 500], true, now);
        assert!(!looks_back(&reader));
        read(&mut reader, &[700], true, now);
        assert!(looks_back(&reader), "501 to 699 may be late");
    }

    #[test]
    fn what_was_read_cannot_be_late() {
        let now = Instant::now();
        let mut reader = reader(now);
        mark(&mut reader, 2, Duration::ZERO, now);
        reader.next_look(now, 1);
        reader.swept(&[], &Queue::for_tests(), now);
        read(&mut reader, &[1, 3, 4], false, now);
        read(&mut reader, &[5, 6], false, now);
        assert!(!looks_back(&reader));
        assert_eq!(reader.next_look(now + SECOND, 1), None, "there is nothing to sweep");
        read(&mut reader, &[7, 9], false, now);
        assert_eq!(reader.look_forward(), Look::Fresh { after: 9, low: Some(7) });
        read(&mut reader, &[10], false, now);
        assert_eq!(reader.look_forward(), Look::Fresh { after: 10, low: Some(7) }, "8 may still come");
    }

    #[test]
    fn in_a_backlog_marks_are_taken_one_per_read_and_a_twentieth_of_the_time() {
        let now = Instant::now();
        let mut reader = reader(now);
        mark(&mut reader, 0, SECOND / 100, now);
        reader.next_look(now, 1);
        reader.swept(&[], &Queue::for_tests(), now);
        read(&mut reader, &[5, 6], false, now);
        assert_eq!(reader.next_look(now + SECOND / 2, 1), None, "this is no backlog");
        read(&mut reader, &[9, 12], true, now);
        assert_eq!(reader.next_look(now + SECOND / 10, 1), None, "the last mark was not cheap");
        let now = now + SECOND / 2;
        mark(&mut reader, 10, Duration::ZERO, now);
        assert_eq!(reader.next_look(now, 1), Some(Look::Sweep { after: 0, upto: 12 }));
        reader.swept(&[], &Queue::for_tests(), now);
        assert_eq!(reader.next_look(now, 1), None, "another one has to wait for a read");
        read(&mut reader, &[14], true, now);
        mark(&mut reader, 20, Duration::ZERO, now);
    }
}
