use std::time::Duration;

use tokio::time::Instant;

/// The circuit breaker of one destination. It opens when the broker is unavailable, and then lets one probe through at
/// growing intervals until one succeeds.
///
/// A state machine without clock or I/O; the caller logs the changes it reports, which makes one line per change.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    openings: u64,
    first_pause: Duration,
    longest_pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant, pause: Duration },
    Probing { pause: Duration },
}

/// The state as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// The broker takes messages.
    #[default]
    Closed,
    /// A probe is under way.
    HalfOpen,
    /// The broker is not available; its messages wait.
    Open,
}

impl BreakerState {
    /// As a gauge shows it.
    pub(crate) const fn level(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// What a call changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Opened,
    Closed,
}

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Anything.
    Free,
    /// One small batch, to see whether the broker is back.
    Probe,
    /// Nothing before this time.
    Not { until: Instant },
    /// Nothing before the probe under way has returned.
    ProbeUnderWay,
}

impl Breaker {
    pub(crate) fn new(first_pause: Duration, longest_pause: Duration) -> Self {
        Self { state: State::Closed, openings: 0, first_pause, longest_pause }
    }

    pub(crate) fn permission(&self, now: Instant) -> Permission {
        match self.state {
            State::Closed => Permission::Free,
            State::Open { until, .. } if now >= until => Permission::Probe,
            State::Open { until, .. } => Permission::Not { until },
            State::Probing { .. } => Permission::ProbeUnderWay,
        }
    }

    /// How often it has opened. What was sent before it last did says nothing about the broker of now.
    pub(crate) fn openings(&self) -> u64 {
        self.openings
    }

    /// Whether everything may be sent.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Probing { .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    pub(crate) fn probe_started(&mut self) {
        if let State::Open { pause, .. } = self.state {
            self.state = State::Probing { pause };
        }
    }

    pub(crate) fn succeeded(&mut self) -> Change {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Closed => Change::None,
            _ => Change::Closed,
        }
    }

    pub(crate) fn unavailable(&mut self, now: Instant) -> Change {
        let (pause, change) = match self.state {
            State::Closed => (self.first_pause, Change::Opened),
            // Batches that were under way when it opened say nothing new.
            State::Open { .. } => return Change::None,
            State::Probing { pause } => ((pause * 2).min(self.longest_pause), Change::None),
        };
        self.openings += u64::from(change == Change::Opened);
        self.state = State::Open { until: now + pause, pause };
        change
    }

    /// A probe whose outcome is unknown.
    pub(crate) fn probe_inconclusive(&mut self, now: Instant) {
        if let State::Probing { pause } = self.state {
            let pause = (pause * 2).min(self.longest_pause);
            self.state = State::Open { until: now + pause, pause };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_once_probes_at_growing_intervals_and_closes_once() {
        let ms = Duration::from_millis;
        let mut breaker = Breaker::new(ms(100), ms(300));
        let start = Instant::now();
        assert_eq!(breaker.permission(start), Permission::Free);
        assert_eq!(breaker.unavailable(start), Change::Opened);
        assert_eq!(breaker.unavailable(start), Change::None);
        assert_eq!(breaker.permission(start), Permission::Not { until: start + ms(100) });

        let mut now = start + ms(100);
        for pause in [ms(200), ms(300), ms(300)] {
            assert_eq!(breaker.permission(now), Permission::Probe);
            breaker.probe_started();
            assert_eq!(breaker.permission(now), Permission::ProbeUnderWay);
            assert_eq!(breaker.unavailable(now), Change::None);
            assert_eq!(breaker.permission(now), Permission::Not { until: now + pause });
            now += pause;
        }
        breaker.probe_started();
        assert_eq!(breaker.openings(), 1);
        assert_eq!(breaker.succeeded(), Change::Closed);
        assert_eq!(breaker.succeeded(), Change::None);
        assert_eq!(breaker.unavailable(now), Change::Opened);
        assert_eq!(breaker.openings(), 2);
    }
}
