use std::time::Duration;

use ::metrics::{SharedString, counter, gauge, histogram};
use outbox_core::PublishErrorKind;

use super::labels::Path;
use super::names;
use crate::breaker::BreakerState;

const ERROR_KINDS: [PublishErrorKind; 4] = [
    PublishErrorKind::Unavailable,
    PublishErrorKind::Unknown,
    PublishErrorKind::Retryable,
    PublishErrorKind::Rejected,
];

/// What is reported of the calls of one transport by one path: by a relay, or by a publisher that does not wait for one.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    path: Path,
    destination: SharedString,
    transport: &'static str,
}

impl Calls {
    pub(crate) fn new(path: Path, destination: SharedString, transport: &'static str) -> Self {
        Self { path, destination, transport }
    }

    pub(crate) fn transport(&self) -> &'static str {
        self.transport
    }

    pub(crate) fn destination(&self) -> &SharedString {
        &self.destination
    }

    /// A call that has ended: the messages that were not confirmed, and how long it took.
    pub(crate) fn ended(&self, errors: &[(PublishErrorKind, u64)], took: Duration) {
        for (kind, messages) in errors {
            self.failed(*kind, *messages);
        }
        histogram!(names::PUBLISH_SECONDS, "path" => self.path.as_str(), "transport" => self.transport)
            .record(took);
    }

    pub(crate) fn breaker(&self, breaker: BreakerState) {
        let destination = self.destination.clone();
        gauge!(names::BREAKER_STATE, "path" => self.path.as_str(), "destination" => destination)
            .set(breaker.level());
    }

    /// Shows counters that have not counted yet as 0: the first event of a series that was not there is no increase.
    pub(crate) fn repeat(&self) {
        for kind in ERROR_KINDS {
            self.failed(kind, 0);
        }
    }

    fn failed(&self, kind: PublishErrorKind, messages: u64) {
        let (path, kind) = (self.path.as_str(), kind.as_str());
        counter!(names::PUBLISH_ERRORS_TOTAL, "path" => path, "kind" => kind, "transport" => self.transport)
            .increment(messages);
    }
}
