use std::time::Duration;

use tokio::time::Instant;

use crate::config::PollConfig;

/// When to look for fresh rows again.
///
/// After rows: at once. After an empty look: for a while at the busy interval, then at the calm one, then at the idle
/// one. After a hint: at once, and if there is nothing yet (the hint may have overtaken its commit) in steps of 1, 2,
/// 4 … ms until the busy interval is reached.
#[derive(Debug)]
pub(crate) struct Poller {
    config: PollConfig,
    state: State,
    at: Instant,
    looked: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Burst { next: Duration },
    Busy { looks: u32 },
    Calm { looks: u32 },
    Idle,
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

/// Between looks that hints ask for: with a hint per commit there would be a look per commit.
const HINT_INTERVAL: Duration = Duration::from_millis(1);

impl Poller {
    pub(crate) fn new(config: PollConfig, now: Instant) -> Self {
        Self { config, state: State::Busy { looks: 0 }, at: now, looked: None }
    }

    pub(crate) fn next_look(&self) -> Instant {
        self.at
    }

    pub(crate) fn pace(&self) -> Pace {
        match self.state {
            State::Burst { .. } => Pace::Burst,
            State::Busy { .. } => Pace::Busy,
            State::Calm { .. } => Pace::Calm,
            State::Idle => Pace::Idle,
        }
    }

    /// The pause after the next look that finds nothing.
    pub(crate) fn interval(&self) -> Duration {
        match self.state {
            State::Burst { next } => next,
            State::Busy { .. } => self.config.busy,
            State::Calm { .. } => self.config.calm,
            State::Idle => self.config.idle,
        }
    }

    pub(crate) fn hinted(&mut self, now: Instant) {
        self.state = State::Burst { next: Duration::from_millis(1) };
        self.at = self.looked.map_or(now, |looked| now.max(looked + HINT_INTERVAL));
    }

    /// Something happened that makes fresh rows likely or a look necessary.
    pub(crate) fn look_now(&mut self, now: Instant) {
        self.at = self.at.min(now);
    }

    pub(crate) fn found_rows(&mut self, now: Instant) {
        self.looked = Some(now);
        self.state = State::Busy { looks: 0 };
        self.at = now;
    }

    pub(crate) fn found_nothing(&mut self, now: Instant) {
        self.looked = Some(now);
        let PollConfig { busy, calm, idle } = self.config;
        let (interval, state) = match self.state {
            State::Burst { next } if next < busy => (next, State::Burst { next: next * 2 }),
            State::Burst { .. } => (busy, State::Busy { looks: 1 }),
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

    fn gaps(poller: &mut Poller, mut now: Instant, count: usize) -> Vec<u128> {
        (0..count)
            .map(|_| {
                poller.found_nothing(now);
                let gap = poller.next_look() - now;
                now += gap;
                gap.as_millis()
            })
            .collect()
    }

    #[test]
    fn it_slows_down_in_three_steps_and_speeds_up_at_once() {
        let now = Instant::now();
        let mut poller = Poller::new(PollConfig::default(), now);
        let seen = gaps(&mut poller, now, 24);
        assert_eq!(seen[..10], [100; 10]);
        assert_eq!(seen[10..20], [1000; 10]);
        assert_eq!(seen[20..], [5000; 4]);
        poller.found_rows(now);
        assert_eq!(poller.next_look(), now);
        assert_eq!(gaps(&mut poller, now, 1), [100]);
    }

    #[test]
    fn a_hint_per_commit_is_not_a_look_per_commit() {
        let now = Instant::now();
        let mut poller = Poller::new(PollConfig::default(), now);
        poller.found_nothing(now);
        poller.hinted(now);
        assert_eq!(poller.next_look(), now + Duration::from_millis(1));
        let later = now + Duration::from_millis(5);
        poller.hinted(later);
        assert_eq!(poller.next_look(), later);
    }

    #[test]
    fn a_hint_that_overtook_its_commit_is_followed_by_a_burst() {
        let now = Instant::now();
        let mut poller = Poller::new(PollConfig::default(), now);
        poller.hinted(now);
        assert_eq!(poller.next_look(), now);
        assert_eq!(gaps(&mut poller, now, 9), [1, 2, 4, 8, 16, 32, 64, 100, 100]);
    }
}
