use std::time::Duration;

use backon::BackoffBuilder;

/// Growing pauses between attempts to reach the database: 100 ms to 5 s, with jitter, so that a fleet does not come
/// back in step.
#[derive(Debug)]
pub(super) struct Pauses(backon::ExponentialBackoff);

impl Pauses {
    pub(super) fn new() -> Self {
        let builder = backon::ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times();
        Self(builder.build())
    }

    pub(super) fn next(&mut self) -> Duration {
        self.0.next().unwrap_or(Duration::from_secs(5))
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}
