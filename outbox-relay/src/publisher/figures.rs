use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::metrics::SharedString;
use outbox_core::{OutboxMessage, PublishError};
use tokio::time::Instant;

use super::PublishPath;
use super::destination::Ended;
use crate::metrics::{self, BatchTally, Calls, Path, TopicLabels};

/// How often what rarely changes is told again, for an exporter that was installed later: not more often, since each
/// message may be a call.
const REPEAT: Duration = Duration::from_secs(5);

/// What a publisher reports of one destination.
#[derive(Debug)]
pub(super) struct Figures {
    calls: Calls,
    topics: TopicLabels,
    repeat_at: Mutex<Option<Instant>>,
}

impl Figures {
    pub(super) fn new(destination: &str, transport: &'static str, topics: TopicLabels) -> Self {
        let destination = SharedString::from_shared(destination.into());
        let calls = Calls::new(Path::Direct, destination, transport);
        Self { calls, topics, repeat_at: Mutex::default() }
    }

    /// For whoever reports the circuit breaker.
    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// A call of the transport that has ended.
    pub(super) fn called(&self, results: &[Result<(), PublishError>], took: Duration) {
        let mut tally = BatchTally::default();
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            tally.failed(error.kind());
        }
        self.calls.ended(tally.errors(), took);
    }

    /// What became of messages. The recorder is asked once per topic and path.
    pub(super) fn ended(&self, batch: &[OutboxMessage], ended: &[Ended]) {
        for path in [PublishPath::Direct, PublishPath::Fallback] {
            let Some(counted_as) = path.counted_as() else { continue };
            let mut tally = BatchTally::of(ended.len());
            let took_it = ended.iter().filter(|(_, result)| matches!(result, Ok(taken) if *taken == path));
            took_it.for_each(|(index, _)| tally.confirmed(&batch[*index]));
            for (topic, messages) in tally.topics() {
                metrics::published(counted_as, self.calls.transport(), self.topics.of(topic), messages);
            }
        }
    }

    /// Shows counters that have not counted yet as 0, if that was not done of late. Says whether it was time for it.
    pub(super) fn repeat(&self, now: Instant) -> bool {
        let mut repeat_at = self.repeat_at.lock().unwrap_or_else(PoisonError::into_inner);
        if repeat_at.is_some_and(|time| now < time) {
            return false;
        }
        *repeat_at = Some(now + REPEAT);
        drop(repeat_at);
        self.calls.repeat();
        true
    }
}
