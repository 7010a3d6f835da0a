use std::time::{Duration, SystemTime};

/// How much the database's clock is ahead of this machine's, as far as the messages prove it.
///
/// A row's time is the database's, and the confirmation is seen by the relay. Two clocks differ, and what a message has
/// waited is wrong by as much. If a row seems to have been confirmed before it was written, the database's clock is
/// ahead by at least that much, and the ages of the last minutes are corrected by it: then the fastest message of that
/// time counts as 0. A database whose clock is behind makes ages longer, and no message shows it.
///
/// A state machine without a clock of its own.
#[derive(Debug, Default)]
pub(crate) struct DatabaseClock {
    window: Option<SystemTime>,
    /// The most that was seen in this window and in the one before: a clock that was set right must be believed again.
    seen: Duration,
    seen_before: Duration,
}

/// How long a proof is believed: from one to two of these.
const WINDOW: Duration = Duration::from_secs(60);
/// Further ahead is no clock but a row that somebody wrote with a time of his own.
const PLAUSIBLE: Duration = Duration::from_secs(3600);

impl DatabaseClock {
    /// What is known now.
    pub(crate) fn ahead(&self) -> Duration {
        self.seen.max(self.seen_before)
    }

    /// How old is what was made then? `None` if that can't be said.
    pub(crate) fn age(&mut self, made: SystemTime, now: SystemTime) -> Option<Duration> {
        self.move_on(now);
        match now.duration_since(made) {
            Ok(age) => Some(age + self.ahead()),
            Err(ahead) if ahead.duration() > PLAUSIBLE => None,
            Err(ahead) => {
                self.seen = self.seen.max(ahead.duration());
                Some(self.ahead() - ahead.duration())
            }
        }
    }

    fn move_on(&mut self, now: SystemTime) {
        match self.window.map(|since| now.duration_since(since)) {
            Some(Ok(passed)) if passed < WINDOW => return,
            Some(Ok(passed)) if passed < WINDOW * 2 => self.seen_before = self.seen,
            // Nothing was seen for long, or this machine's clock was set back.
            _ => self.seen_before = Duration::ZERO,
        }
        self.seen = Duration::ZERO;
        self.window = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000 + milliseconds)
    }

    #[test]
    fn with_equal_clocks_nothing_is_corrected() {
        let mut clock = DatabaseClock::default();
        assert_eq!(clock.age(at(0), at(7)), Some(Duration::from_millis(7)));
        assert_eq!(clock.ahead(), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_is_ahead_is_noticed_corrected_and_forgotten() {
        let ms = Duration::from_millis;
        let mut clock = DatabaseClock::default();
        // 500 ms ahead; the message took 3 ms.
        assert_eq!(clock.age(at(500), at(3)), Some(ms(0)));
        assert_eq!(clock.ahead(), ms(497));
        // One that took 10 ms counts as 7 ms: the fastest is 0.
        assert_eq!(clock.age(at(600), at(110)), Some(ms(7)));
        // One that took 2 s.
        assert_eq!(clock.age(at(700), at(2200)), Some(ms(1997)));
        // The clock is set right; after two windows without a proof it is believed again.
        assert_eq!(clock.age(at(70_000), at(70_004)), Some(ms(501)), "still corrected");
        assert_eq!(clock.age(at(140_000), at(140_004)), Some(ms(4)));
    }

    #[test]
    fn a_time_that_somebody_made_up_is_no_clock() {
        let mut clock = DatabaseClock::default();
        assert_eq!(clock.age(at(4_000_000), at(0)), None);
        assert_eq!(clock.ahead(), Duration::ZERO);
    }

    #[test]
    fn a_machine_whose_clock_is_set_back_begins_anew() {
        let mut clock = DatabaseClock::default();
        clock.age(at(10_500), at(10_000));
        assert_eq!(clock.age(at(0), at(5)), Some(Duration::from_millis(5)));
    }
}
