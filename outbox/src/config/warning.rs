use std::time::Duration;

use humantime::format_duration;

/// What is allowed, and probably not what was meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigWarning {
    /// The variable `ENVIRONMENT`, which is not ours alone, has a word that is no profile.
    #[error(
        "ENVIRONMENT is {value:?}, which is no profile: production is assumed; known are test, testing, dev, \
         development, prod, production, staging"
    )]
    UnknownEnvironment {
        /// The word.
        value: String,
    },
    /// A variable begins like ours and sets nothing.
    #[error("the variable {name} sets nothing: no key of the outbox has this name")]
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// The inbox forgets a message while a copy of it may still come.
    #[error(
        "inbox.retention is {}, shorter than the longest retry of the relay ({}) and the retention of the broker ({}) \
         together: a copy that comes later would be processed again",
        format_duration(*.retention), format_duration(*.longest_retry), format_duration(*.broker_retention)
    )]
    ShortRetention {
        /// `inbox.retention`.
        retention: Duration,
        /// From the first try of a message to its last, with jitter.
        longest_retry: Duration,
        /// `inbox.broker_retention`; zero if it is not set.
        broker_retention: Duration,
    },
}
