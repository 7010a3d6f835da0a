use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Microseconds since 1970, the unit in which databases keep their times.
pub(crate) type Micros = i64;

/// The store's "database clock": it starts at the time of day and then follows tokio's clock, so that it never goes
/// back, and stands still while a test has paused the time.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_at: Micros,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), started_at: micros(SystemTime::now()) }
    }

    pub(crate) fn now(&self) -> Micros {
        self.started_at.saturating_add(duration_micros(self.started.elapsed()))
    }
}

pub(crate) fn duration_micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

/// From one time to another; zero if that lies before.
pub(crate) fn between(from: Micros, to: Micros) -> Duration {
    Duration::from_micros(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

pub(crate) fn micros(time: SystemTime) -> Micros {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => duration_micros(since),
        Err(before) => -duration_micros(before.duration()),
    }
}

pub(crate) fn system_time(at: Micros) -> SystemTime {
    let distance = Duration::from_micros(at.unsigned_abs());
    let time = if at < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}
