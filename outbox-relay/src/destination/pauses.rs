use std::time::Duration;

use backon::BackoffBuilder;

/// Growing pauses between attempts to reach the database: 100 ms to 5 s, with jitter, so that a fleet does not come
/// back in step.
#[derive(Debug)]
pub(super) struct Pauses {
    longest: Duration,
    pauses: backon::ExponentialBackoff,
}

const LONGEST: Duration = Duration::from_secs(5);

impl Pauses {
    pub(super) fn new() -> Self {
        Self::up_to(LONGEST)
    }

    /// With another longest pause.
    pub(super) fn up_to(longest: Duration) -> Self {
        let builder = backon::ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times();
        Self { longest, pauses: builder.build() }
    }

    pub(super) fn next(&mut self) -> Duration {
        self.pauses.next().unwrap_or(self.longest)
    }

    pub(super) fn reset(&mut self) {
        *self = Self::up_to(self.longest);
    }
}
