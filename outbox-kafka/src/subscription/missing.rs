use std::time::{Duration, Instant};

/// That a topic is missing which is to be created. librdkafka says so once, so it is kept in mind until everything was
/// found to be there.
#[derive(Default)]
pub(crate) struct Missing {
    reports: u64,
    /// When to try next; `None` if nothing is missing.
    due: Option<Instant>,
}

impl Missing {
    /// Between two tries: what can't be created must not keep `next` from the messages of other topics.
    const PAUSE: Duration = Duration::from_secs(5);

    pub(crate) fn report(&mut self, now: Instant) {
        self.reports += 1;
        self.due.get_or_insert(now);
    }

    /// `true` if it is time to try. The next try is due after a pause, even if this one is dropped halfway.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        let begins = self.due.is_some_and(|due| due <= now);
        if begins {
            self.rest(now);
        }
        begins
    }

    /// A try has ended: it may have taken longer than the pause.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.due = self.due.map(|_| now + Self::PAUSE);
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) const fn reports(&self) -> u64 {
        self.reports
    }

    /// Everything is there, as far as the first `reports` are concerned: one that came later may be about a topic that
    /// had been looked at before.
    pub(crate) fn found(&mut self, reports: u64) {
        if self.reports == reports {
            self.due = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_again_until_everything_was_found() {
        let (mut missing, now) = (Missing::default(), Instant::now());
        assert!(!missing.begin(now));
        missing.report(now);
        assert!(missing.begin(now));
        // The try came to nothing.
        missing.report(now);
        assert!(!missing.begin(now), "other messages come first");
        let later = now + Missing::PAUSE;
        let seen = missing.reports();
        assert!(missing.begin(later));
        let later = later + Missing::PAUSE;
        missing.rest(later);
        assert!(!missing.begin(later), "a try that took long is followed by a pause too");
        // The try came to an end, but something went missing meanwhile.
        missing.report(later);
        missing.found(seen);
        assert_eq!(missing.due(), Some(later + Missing::PAUSE));
        missing.found(missing.reports());
        missing.rest(later);
        assert_eq!(missing.due(), None);
        assert!(!missing.begin(later + Missing::PAUSE));
    }
}
