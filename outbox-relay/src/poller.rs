use std::time::Duration;

use tokio::time::Instant;

use crate::bell::Hint;
use crate::config::PollConfig;

/// When to look for fresh rows again.
///
/// After rows: at once. After an empty look: for a while at the busy interval, then at the calm one, then at the idle
/// one. Hints begin a *burst*: looks in steps of 1, 2, 4 … ms, as long as they find nothing, until the busy interval is
/// reached.
///
/// * *Committed*: at once. If there is nothing the hint may have overtaken its commit, and a burst follows. If there are
///   rows, the next commit brings its own hint, so the look after them is not made at once, but after 4 ms.
/// * *Expected*: nothing is committed yet, so the burst begins without a look. Rows don't end it, since they may be those
///   of others: from 1 ms on it finds what is committed within as much time again as its transaction took, and a
///   millisecond.
/// * *From afar*: at once, and then as if one were expected, because such a hint may stand for several commits.
#[derive(Debug)]
pub(crate) struct Poller {
    config: PollConfig,
    state: State,
    burst: Option<Burst>,
    at: Instant,
    /// When a hint that came during the look that is under way wants the next one.
    wanted: Option<Instant>,
    /// Whether the look that is under way, or the next one, is made because of a hint whose writer gives one for each
    /// commit.
    exact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Busy { looks: u32 },
    Calm { looks: u32 },
    Idle,
}

/// Hints are followed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Burst {
    /// The pause after the next empty look.
    next: Duration,
    /// Whether it goes on after rows.
    outlives_rows: bool,
}

/// How fast the table is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Burst,
    Busy,
    Calm,
    Idle,
}

impl Pace {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Busy => "busy",
            Self::Calm => "calm",
            Self::Idle => "idle",
        }
    }
}

/// Empty looks at one pace before it slows down: one second at the default busy interval, ten at the calm one.
const LOOKS_PER_PACE: u32 = 10;

/// The first pause of a burst.
const FIRST_STEP: Duration = Duration::from_millis(1);

/// After rows that a hint announced: those who give no hints wait this long, and each commit costs one look, not two.
const AFTER_HINTED_ROWS: Duration = Duration::from_millis(4);

impl Poller {
    pub(crate) fn new(config: PollConfig, now: Instant) -> Self {
        let state = State::Busy { looks: 0 };
        Self { config, state, burst: None, at: now, wanted: None, exact: false }
    }

    pub(crate) fn next_look(&self) -> Instant {
        self.at
    }

    pub(crate) fn pace(&self) -> Pace {
        match self.state {
            _ if self.burst.is_some() => Pace::Burst,
            State::Busy { .. } => Pace::Busy,
            State::Calm { .. } => Pace::Calm,
            State::Idle => Pace::Idle,
        }
    }

    /// The pause after the next look that finds nothing.
    pub(crate) fn interval(&self) -> Duration {
        match (self.burst, self.state) {
            (Some(burst), _) => burst.next,
            (None, State::Busy { .. }) => self.config.busy,
            (None, State::Calm { .. }) => self.config.calm,
            (None, State::Idle) => self.config.idle,
        }
    }

    pub(crate) fn hinted(&mut self, hint: Hint, now: Instant) {
        if !hint.committed() && !hint.expected() {
            // It was taken together with one before.
            return;
        }
        let first = FIRST_STEP.min(self.config.busy);
        let outlives_rows = hint.expected() || self.burst.is_some_and(|burst| burst.outlives_rows);
        self.burst = Some(Burst { next: first, outlives_rows });
        self.exact = !outlives_rows;
        let at = if hint.committed() { now } else { now + first };
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
        self.at = self.at.min(at);
    }

    /// A look forward begins; hints that come from now on are not answered by it.
    pub(crate) fn look_begins(&mut self) {
        self.wanted = None;
    }

    /// Something happened that makes fresh rows likely or a look necessary.
    pub(crate) fn look_now(&mut self, now: Instant) {
        self.at = self.at.min(now);
    }

    /// `more`: there are more rows than one look takes.
    pub(crate) fn found_rows(&mut self, more: bool, now: Instant) {
        self.state = State::Busy { looks: 0 };
        let first = FIRST_STEP.min(self.config.busy);
        self.burst = self.burst.filter(|burst| burst.outlives_rows);
        if let Some(burst) = &mut self.burst {
            burst.next = first;
        }
        let pause = if self.exact && !more { AFTER_HINTED_ROWS } else { Duration::ZERO };
        // What comes next answers the hint that came meanwhile.
        self.exact &= self.wanted.is_some();
        self.at = self.wanted.map_or(now + pause, |wanted| wanted.min(now + pause));
    }

    pub(crate) fn found_nothing(&mut self, now: Instant) {
        if let Some(wanted) = self.wanted {
            // It began before what the hint is about.
            self.at = wanted.max(now);
            return;
        }
        let PollConfig { busy, calm, idle } = self.config;
        if let Some(burst) = &mut self.burst {
            if burst.next < busy {
                self.at = now + burst.next;
                burst.next *= 2;
                return;
            }
            self.burst = None;
            self.state = State::Busy { looks: 0 };
        }
        let (interval, state) = match self.state {
            State::Busy { looks } if looks < LOOKS_PER_PACE => (busy, State::Busy { looks: looks + 1 }),
            State::Busy { .. } => (calm, State::Calm { looks: 1 }),
            State::Calm { looks } if looks < LOOKS_PER_PACE => (calm, State::Calm { looks: looks + 1 }),
            State::Calm { .. } | State::Idle => (idle, State::Idle),
        };
        self.state = state;
        self.at = now + interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn gaps(poller: &mut Poller, mut now: Instant, count: usize) -> Vec<u128> {
        (0..count)
            .map(|_| {
                poller.look_begins();
                poller.found_nothing(now);
                let gap = poller.next_look() - now;
                now += gap;
                gap.as_millis()
            })
            .collect()
    }

    fn poller(now: Instant) -> Poller {
        let mut poller = Poller::new(PollConfig::default(), now);
        poller.look_begins();
        poller.found_nothing(now);
        poller
    }

    #[test]
    fn it_slows_down_in_three_steps_and_speeds_up_at_once() {
        let now = Instant::now();
        let mut poller = Poller::new(PollConfig::default(), now);
        let seen = gaps(&mut poller, now, 24);
        assert_eq!(seen[..10], [100; 10]);
        assert_eq!(seen[10..20], [1000; 10]);
        assert_eq!(seen[20..], [5000; 4]);
        poller.found_rows(false, now);
        assert_eq!(poller.next_look(), now);
        assert_eq!(gaps(&mut poller, now, 1), [100]);
    }

    #[test]
    fn a_hint_during_a_look_is_answered_by_another_one() {
        let now = Instant::now();
        let mut poller = poller(now);
        poller.hinted(Hint::COMMITTED, now);
        assert_eq!(poller.next_look(), now);
        poller.look_begins();
        poller.hinted(Hint::COMMITTED, now + MS);
        // What it finds was there before; the hint is about something else.
        poller.found_nothing(now + 2 * MS);
        assert_eq!(poller.next_look(), now + 2 * MS);
        assert_eq!(gaps(&mut poller, now + 2 * MS, 3), [1, 2, 4], "the burst is not used up");
    }

    #[test]
    fn a_hint_that_overtook_its_commit_is_followed_by_a_burst() {
        let now = Instant::now();
        let mut poller = poller(now);
        poller.hinted(Hint::COMMITTED, now);
        assert_eq!(poller.next_look(), now);
        assert_eq!(gaps(&mut poller, now, 9), [1, 2, 4, 8, 16, 32, 64, 100, 100]);
    }

    #[test]
    fn a_hint_per_commit_is_one_look_per_commit() {
        let now = Instant::now();
        let mut poller = poller(now);
        poller.hinted(Hint::COMMITTED, now);
        poller.look_begins();
        poller.found_rows(false, now);
        assert_eq!(poller.next_look(), now + 4 * MS);
        assert_eq!(poller.pace(), Pace::Busy);
        // Unless there is more than a look takes, or a hint came meanwhile.
        poller.hinted(Hint::COMMITTED, now);
        poller.look_begins();
        poller.found_rows(true, now);
        assert_eq!(poller.next_look(), now);
        poller.look_begins();
        poller.hinted(Hint::COMMITTED, now);
        poller.found_rows(false, now + MS);
        assert!(poller.next_look() <= now + MS);
    }

    #[test]
    fn an_expected_commit_is_looked_for_before_and_after_those_of_others() {
        let now = Instant::now();
        let mut poller = poller(now);
        poller.hinted(Hint::EXPECTED, now);
        assert_eq!(poller.next_look(), now + MS, "nothing is committed yet");
        assert_eq!(gaps(&mut poller, now + MS, 3), [1, 2, 4]);
        poller.look_begins();
        poller.found_rows(false, now + 8 * MS);
        assert_eq!(poller.next_look(), now + 8 * MS, "others may have committed, too");
        assert_eq!(gaps(&mut poller, now + 8 * MS, 8), [1, 2, 4, 8, 16, 32, 64, 100]);
        assert_eq!(poller.pace(), Pace::Busy);
    }

    #[test]
    fn expecting_does_not_put_off_what_is_due() {
        let now = Instant::now();
        let mut poller = poller(now);
        poller.hinted(Hint::COMMITTED, now);
        poller.hinted(Hint::EXPECTED, now);
        assert_eq!(poller.next_look(), now);
        for step in 0..100 {
            poller.hinted(Hint::EXPECTED, now + MS * step);
        }
        assert_eq!(poller.next_look(), now);
    }

    #[test]
    fn a_hint_from_afar_may_stand_for_several_commits() {
        let now = Instant::now();
        let mut poller = poller(now);
        poller.hinted(Hint::FROM_AFAR, now);
        assert_eq!(poller.next_look(), now);
        poller.look_begins();
        poller.found_rows(false, now);
        assert_eq!(poller.next_look(), now);
        assert_eq!(gaps(&mut poller, now, 8), [1, 2, 4, 8, 16, 32, 64, 100]);
    }
}
