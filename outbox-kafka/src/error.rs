use outbox_core::{BrokerConfigError, MessageError, PublishError};
#[cfg(feature = "subscription")]
use outbox_core::{PublishErrorKind, SubscribeError, SubscribeErrorKind};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::BROKER;

/// Everything that can go wrong between a message and its acknowledgement, or in a check.
#[derive(Debug)]
pub(crate) enum Failure<'a> {
    Closed,
    Unencodable(MessageError),
    /// Kafka knows no topics of such a name.
    IllegalTopic(&'a str),
    /// librdkafka can't be started.
    NoClient(BrokerConfigError),
    /// No broker answers: where, and why as far as it is known.
    Unreachable {
        servers: &'a str,
        reason: String,
    },
    /// The broker has spoken about a topic.
    Topic {
        topic: &'a str,
        code: Code,
    },
    /// A topic could not be created.
    Creation {
        topic: &'a str,
        problem: String,
    },
    /// The deadline came before the message was given to the client.
    NotSent,
    /// The producer ended before the message was given to it.
    Lost,
    /// An earlier message of the same key was not accepted, because of an outage or for a reason of its own.
    Behind {
        outage: bool,
    },
    /// librdkafka did not take the record.
    NotTaken {
        topic: &'a str,
        code: Code,
        size: usize,
    },
    /// librdkafka took the record, and this is its report.
    Report {
        topic: &'a str,
        code: Code,
        alone: bool,
        size: usize,
    },
    /// The deadline came before the report.
    NoReport {
        reason: Option<String>,
    },
    CloseTimedOut {
        unconfirmed: usize,
    },
}

/// The one place that decides what a failure means for a message.
pub(crate) fn publish_error(failure: Failure<'_>) -> PublishError {
    match failure {
        Failure::Closed => PublishError::unavailable("the Kafka transport is closed"),
        Failure::Unencodable(error) => {
            PublishError::rejected(format!("the message can't be published: {error}")).with_source(error)
        }
        Failure::IllegalTopic(topic) => PublishError::rejected(format!(
            "topic {topic:?} is no Kafka topic: letters, digits, dots, underscores and hyphens are allowed"
        )),
        Failure::NoClient(error) => {
            PublishError::unavailable(format!("the Kafka client can't be started: {error}"))
        }
        Failure::Unreachable { servers, reason } => {
            PublishError::unavailable(format!("Kafka can't be reached at {servers}: {reason}"))
        }
        Failure::Topic { topic, code } => about_topic(topic, code),
        Failure::Creation { topic, problem } => {
            PublishError::retryable(format!("topic {topic:?} is missing and can't be created: {problem}"))
        }
        Failure::NotSent => PublishError::unavailable("there was no room for the message in time"),
        Failure::Lost => {
            PublishError::unavailable("the Kafka producer ended before the message was handed over")
        }
        Failure::Behind { outage } => {
            let text = "not sent: an earlier message of its key failed";
            if outage { PublishError::unavailable(text) } else { PublishError::retryable(text) }
        }
        Failure::NotTaken { topic, code, size } => match code {
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => PublishError::rejected(format!(
                "the message is too large: {size} bytes of payload and headers (raise max_message_bytes, and \
                 max.message.bytes of topic {topic:?})"
            )),
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                about_topic(topic, Code::UnknownTopicOrPartition)
            }
            Code::Fatal | Code::BrokerDestroy | Code::State => publish_error(Failure::Lost),
            _ => PublishError::retryable(format!("librdkafka did not take the message: {code}")),
        },
        Failure::Report { topic, code, alone, size } => reported(topic, code, alone, size),
        Failure::NoReport { reason } => {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            PublishError::unknown(format!("Kafka did not confirm in time{reason}"))
        }
        Failure::CloseTimedOut { unconfirmed } => PublishError::unknown(format!(
            "closed before Kafka had confirmed everything; messages under way: {unconfirmed}"
        )),
    }
}

/// The broker answered, and has not stored anything.
fn about_topic(topic: &str, code: Code) -> PublishError {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic => PublishError::retryable(format!(
            "there is no Kafka topic {topic:?}: create it, or let create=true do so"
        )),
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            PublishError::retryable(format!(
                "this user may not write to topic {topic:?}: grant it WRITE and DESCRIBE (and IDEMPOTENT_WRITE on clusters \
             before Kafka 3.0)"
            ))
        }
        Code::InvalidTopic => {
            PublishError::rejected(format!("the broker refuses the name of topic {topic:?}"))
        }
        _ => PublishError::retryable(format!("topic {topic:?} takes no messages now: {code}")),
    }
}

/// librdkafka tries again by itself whatever can be tried again, so a report is its last word. With a few exceptions
/// it does not say whether a try before the last one has arrived: what is not plainly a refusal is unknown.
fn reported(topic: &str, code: Code, alone: bool, size: usize) -> PublishError {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge if alone => PublishError::rejected(format!(
            "the broker refused the message as too large: {size} bytes of payload and headers (raise \
             max.message.bytes of topic {topic:?})"
        )),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => PublishError::retryable(format!(
            "the broker refused a batch with this message as too large: set batch_bytes to max.message.bytes of \
             topic {topic:?}"
        )),
        Code::InvalidRecord => PublishError::rejected(format!(
            "the broker refused the record as invalid: a compacted topic needs a key, and a topic with a schema \
             needs a fitting payload (topic {topic:?})"
        )),
        Code::InvalidTimestamp => PublishError::rejected(format!(
            "the broker refused the time of the record: see message.timestamp.before.max.ms of topic {topic:?}"
        )),
        Code::UnsupportedForMessageFormat => PublishError::rejected(format!(
            "topic {topic:?} has a message format without headers: raise log.message.format.version"
        )),
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::InvalidTopic
        | Code::InvalidDifferentRecord
        | Code::NotEnoughReplicas
        | Code::InvalidRequiredAcks
        | Code::UnsupportedCompressionType
        | Code::PolicyViolation
        | Code::ThrottlingQuotaExceeded => about_topic(topic, code),
        Code::PurgeQueue | Code::PurgeInflight | Code::Fatal | Code::BrokerDestroy => {
            PublishError::unknown("the Kafka producer ended before the message was confirmed")
        }
        _ => PublishError::unknown(format!("Kafka did not confirm the message: {code}")),
    }
}

/// librdkafka refuses the configuration. Its errors carry the values of settings, the password among them.
pub(crate) fn client_error(error: KafkaError) -> BrokerConfigError {
    let problem = match error {
        KafkaError::ClientConfig(_, description, name, _) if !name.starts_with("sasl.") => {
            format!("{name}: {description}")
        }
        KafkaError::ClientConfig(_, _, name, _) => format!("{name} has a value that it does not take"),
        KafkaError::ClientCreation(problem) => problem,
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => "a setting has a character that it does not take".to_owned(),
        },
    };
    BrokerConfigError::Client { broker: BROKER, problem }
}

/// Everything that can go wrong on the consuming side.
#[cfg(feature = "subscription")]
#[derive(Debug)]
pub(crate) enum Trouble<'a> {
    Closed,
    /// The partition of a delivery belongs to somebody else, or the subscription was closed.
    Stale,
    Unreachable {
        servers: &'a str,
        reason: String,
    },
    /// The brokers have spoken about a topic or the group.
    Group {
        topic: Option<&'a str>,
        code: Code,
    },
    Creation {
        topic: &'a str,
        problem: String,
    },
    DeadLetter(PublishError),
    NotCommitted(Code),
    CloseTimedOut,
}

/// The one place that decides what kind of trouble it is.
#[cfg(feature = "subscription")]
pub(crate) fn subscribe_error(trouble: Trouble<'_>) -> SubscribeError {
    use SubscribeErrorKind as Kind;
    match trouble {
        Trouble::Closed => SubscribeError::new(Kind::Closed, "the Kafka subscription is closed"),
        Trouble::Stale => SubscribeError::new(
            Kind::Stale,
            "the partition of the message was taken away from this member: it comes again, to another one",
        ),
        Trouble::Unreachable { servers, reason } => {
            SubscribeError::new(Kind::Unavailable, format!("Kafka can't be reached at {servers}: {reason}"))
        }
        Trouble::Group { topic, code } => {
            let subject =
                topic.map_or_else(|| "a topic of the group".to_owned(), |topic| format!("topic {topic:?}"));
            match code {
                Code::UnknownTopicOrPartition | Code::UnknownTopic => SubscribeError::new(
                    Kind::Missing,
                    format!("{subject} does not exist: create it, or let create=true do so"),
                ),
                Code::TopicAuthorizationFailed => SubscribeError::new(
                    Kind::Refused,
                    format!("this user may not read {subject}: grant READ"),
                ),
                Code::GroupAuthorizationFailed => {
                    SubscribeError::new(Kind::Refused, "this user may not join the group: grant READ on it")
                }
                Code::InconsistentGroupProtocol => SubscribeError::new(
                    Kind::Refused,
                    "the group has members that don't know cooperative-sticky: give this one another group",
                ),
                Code::InvalidSessionTimeout => SubscribeError::new(
                    Kind::Refused,
                    "the brokers don't take redeliver_after as session time-out: see group.min.session.timeout.ms",
                ),
                Code::InvalidGroupId | Code::InvalidTopic => {
                    SubscribeError::new(Kind::Refused, format!("{subject}: {code}"))
                }
                _ => SubscribeError::new(Kind::Unavailable, format!("{subject} can't be read now: {code}")),
            }
        }
        Trouble::Creation { topic, problem } => SubscribeError::new(
            Kind::Missing,
            format!("topic {topic:?} is missing and can't be created: {problem}"),
        ),
        Trouble::DeadLetter(error) => {
            let kind = match error.kind() {
                PublishErrorKind::Retryable => Kind::Missing,
                PublishErrorKind::Rejected => Kind::Refused,
                _ => Kind::Unavailable,
            };
            SubscribeError::new(kind, format!("the message was not given up: {error}")).with_source(error)
        }
        Trouble::NotCommitted(code) => SubscribeError::new(
            Kind::Unavailable,
            format!("the last settlements may not be stored, their messages come again: {code}"),
        ),
        Trouble::CloseTimedOut => SubscribeError::new(
            Kind::Unavailable,
            "the group was not left in time: the last settlements may not be stored",
        ),
    }
}

#[cfg(test)]
mod tests {
    use outbox_core::PublishErrorKind as Kind;
    use rdkafka::config::FromClientConfig as _;

    use super::*;

    fn report(code: Code, alone: bool) -> Kind {
        publish_error(Failure::Report { topic: "t", code, alone, size: 1 }).kind()
    }

    #[test]
    fn only_what_is_plainly_a_refusal_is_not_unknown() {
        for (code, kind) in [
            (Code::InvalidRecord, Kind::Rejected),
            (Code::InvalidDifferentRecord, Kind::Retryable),
            (Code::TopicAuthorizationFailed, Kind::Retryable),
            (Code::UnknownTopicOrPartition, Kind::Retryable),
            (Code::NotEnoughReplicas, Kind::Retryable),
            (Code::NotEnoughReplicasAfterAppend, Kind::Unknown),
            (Code::MessageTimedOut, Kind::Unknown),
            (Code::RequestTimedOut, Kind::Unknown),
            (Code::PurgeQueue, Kind::Unknown),
            (Code::PurgeInflight, Kind::Unknown),
            (Code::OutOfOrderSequenceNumber, Kind::Unknown),
            (Code::InvalidProducerEpoch, Kind::Unknown),
            (Code::Fatal, Kind::Unknown),
            (Code::Unknown, Kind::Unknown),
        ] {
            assert_eq!(report(code, false), kind, "{code}");
        }
        assert_eq!(report(Code::MessageSizeTooLarge, true), Kind::Rejected);
        assert_eq!(report(Code::MessageSizeTooLarge, false), Kind::Retryable);
    }

    #[test]
    fn an_error_of_the_client_shows_no_password() {
        let mut config = rdkafka::ClientConfig::new();
        config.set("sasl.password", "c4nary\0");
        let error = rdkafka::producer::BaseProducer::from_config(&config).err().unwrap();
        let text = format!("{0} {0:?}", client_error(error));
        assert!(!text.contains("c4nary"), "{text}");
        let mut config = rdkafka::ClientConfig::new();
        config.set("sasl.mechanisms", "c4nary").set("sasl.kerberos.min.time.before.relogin", "c4nary");
        let error = rdkafka::producer::BaseProducer::from_config(&config).err().unwrap();
        let text = format!("{0} {0:?}", client_error(error));
        assert!(!text.contains("c4nary"), "{text}");
    }
}
