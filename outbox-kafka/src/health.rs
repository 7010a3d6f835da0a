use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// What a client of librdkafka has said about its connections. Logs one line per change, however often it says it.
#[derive(Debug)]
pub(crate) struct Health {
    servers: String,
    down: AtomicBool,
    fatal: AtomicBool,
    /// The last reason that says more than that there is no connection.
    reason: Mutex<Option<String>>,
}

impl Health {
    pub(crate) fn new(servers: &str) -> Self {
        Self {
            servers: servers.to_owned(),
            down: AtomicBool::new(false),
            fatal: AtomicBool::new(false),
            reason: Mutex::default(),
        }
    }

    #[cfg(feature = "subscription")]
    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// No broker is connected.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// The client is of no use any more.
    pub(crate) fn is_fatal(&self) -> bool {
        self.fatal.load(Ordering::Acquire)
    }

    /// Why there is no connection, as far as librdkafka knows.
    pub(crate) fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A broker has answered.
    pub(crate) fn answered(&self) {
        if self.is_down() && self.down.swap(false, Ordering::AcqRel) {
            tracing::info!("Kafka at {} can be reached again", self.servers);
        }
    }

    pub(crate) fn report(&self, error: &KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        match code {
            Code::Fatal | Code::Fenced | Code::GaplessGuarantee => {
                self.keep(reason);
                if !self.fatal.swap(true, Ordering::AcqRel) {
                    tracing::warn!("the Kafka client is replaced by a new one: {reason}");
                }
            }
            Code::AllBrokersDown => {
                if !self.down.swap(true, Ordering::AcqRel) {
                    let reason = self.reason().unwrap_or_else(|| reason.to_owned());
                    tracing::warn!("Kafka can't be reached at {}: {reason}", self.servers);
                }
            }
            Code::BrokerTransportFailure
            | Code::Resolve
            | Code::SSL
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::UnsupportedFeature
            | Code::CriticalSystemResource => self.keep(reason),
            _ => tracing::debug!("Kafka at {} reports: {error}: {reason}", self.servers),
        }
    }

    fn keep(&self, reason: &str) {
        let reason = reason.split("): ").last().filter(|text| !text.is_empty()).unwrap_or(reason);
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

/// librdkafka's own lines. It repeats what the errors say, so they are for whoever looks for more.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", "{facility}: {line}");
        }
        _ => tracing::debug!(target: "librdkafka", "{facility}: {line}"),
    }
}

/// A client for a single request, whose error is all that is of interest.
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("{error}: {reason}");
    }
}
