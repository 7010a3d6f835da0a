use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::{SharedString, counter, gauge, histogram};
use outbox_core::ConsumerName;

use super::stats::{ConsumerStats, Counters};
use crate::metrics::names;

/// Between two reports. What is counted is told in sums, so that a message costs no look for the recorder.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells the recorder what a consumer has done.
pub(super) struct Reporter {
    consumer: SharedString,
    told: ConsumerStats,
}

impl Reporter {
    pub(super) fn new(name: &ConsumerName) -> Self {
        crate::metrics::describe();
        Self { consumer: label(name), told: ConsumerStats::default() }
    }

    /// Reports for ever.
    pub(super) async fn run(&mut self, counters: &Counters) -> Infallible {
        loop {
            self.tell(counters.snapshot());
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Reports what has happened since the last time. Zeros are told, too: a counter that is missing can't be watched.
    pub(super) fn tell(&mut self, now: ConsumerStats) {
        let told = &self.told;
        for (name, count) in [
            (names::CONSUMER_PROCESSED_TOTAL, now.applied - told.applied),
            (names::INBOX_DUPLICATES_TOTAL, now.duplicates - told.duplicates),
            (names::CONSUMER_RETRIES_TOTAL, now.retried - told.retried),
            (names::CONSUMER_DEAD_TOTAL, now.dead - told.dead),
        ] {
            counter!(name, "consumer" => self.consumer.clone()).increment(count);
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of handlers")]
        let running = now.running as f64;
        gauge!(names::CONSUMER_IN_FLIGHT, "consumer" => self.consumer.clone()).set(running);
        self.told = now;
    }
}

/// How long a handler took. Beside its transaction this is nothing.
pub(super) fn handled(consumer: &SharedString, time: Duration) {
    histogram!(names::CONSUMER_HANDLE_SECONDS, "consumer" => consumer.clone()).record(time);
}

/// The name as a label that costs no copy.
pub(super) fn label(name: &ConsumerName) -> SharedString {
    SharedString::from(Arc::<str>::from(name.as_str()))
}
