use std::time::Duration;

use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamError, GetStreamErrorKind, RequestError,
};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context, ErrorCode};
use outbox_core::PublishError;

use crate::NatsConfig;
use crate::error::{Failure, publish_error};

/// Checks that JetStream is there and, where a stream is named, that it is fit; creates it if that was asked for.
/// Returns the stream as it is.
pub(crate) async fn check(jetstream: &Context, config: &NatsConfig) -> Result<Option<Config>, PublishError> {
    let Some(stream) = &config.stream else {
        return check_account(jetstream).await.map(|()| None);
    };
    let found = find_or_create(jetstream, config, stream).await?;
    if let Some(problem) = defect(&found) {
        return Err(publish_error(Failure::StreamUnusable { stream, problem }));
    }
    Ok(Some(found))
}

/// Why a question about streams has no answer.
#[derive(Debug)]
pub(crate) enum Unasked {
    Request(RequestError),
    JetStream(jetstream::Error),
}

/// Where the server is asked which streams there are.
pub(crate) const NAMES: &str = "$JS.API.STREAM.NAMES";

/// The stream that takes a subject.
pub(crate) async fn taken_by(jetstream: &Context, subject: &str) -> Result<Option<String>, Unasked> {
    let question = serde_json::json!({ "subject": subject });
    match jetstream.request("STREAM.NAMES", &question).await.map_err(Unasked::Request)? {
        Response::<serde_json::Value>::Ok(names) => Ok(names["streams"][0].as_str().map(str::to_owned)),
        Response::Err { error } => Err(Unasked::JetStream(error)),
    }
}

/// Logs what can lose messages.
pub(crate) fn warn(stream: &Config) {
    for risk in risks(stream) {
        tracing::warn!("JetStream stream {} {} (use {})", stream.name, risk.detail, risk.remedy);
    }
}

/// Not `query_account`, which wants fields that servers before 2.10 don't send.
pub(crate) async fn check_account(jetstream: &Context) -> Result<(), PublishError> {
    let unanswered = |error| publish_error(Failure::Account(error));
    match jetstream.request("INFO", &()).await.map_err(unanswered)? {
        Response::<serde_json::Value>::Ok(_) => Ok(()),
        Response::Err { error } => Err(publish_error(Failure::JetStream(error))),
    }
}

async fn find_or_create(
    jetstream: &Context,
    config: &NatsConfig,
    stream: &str,
) -> Result<Config, PublishError> {
    let info = |error| publish_error(Failure::StreamInfo { error, stream });
    match jetstream.get_stream(stream).await {
        Ok(found) => return Ok(found.cached_info().config.clone()),
        Err(error) if config.create && is_missing(&error) => {}
        Err(error) => return Err(info(error)),
    }
    if config.subjects.is_empty() {
        return Err(publish_error(Failure::StreamWithoutSubjects(stream)));
    }
    match jetstream.create_stream(wanted(config, stream)).await {
        Ok(created) => Ok(created.cached_info().config.clone()),
        // Somebody else was faster, with other settings.
        Err(error) if is_taken(&error.kind()) => match jetstream.get_stream(stream).await {
            Ok(found) => Ok(found.cached_info().config.clone()),
            Err(error) => Err(info(error)),
        },
        Err(error) => Err(publish_error(Failure::StreamCreate { error, stream })),
    }
}

fn wanted(config: &NatsConfig, stream: &str) -> Config {
    Config {
        name: stream.to_owned(),
        subjects: config.subjects.clone(),
        storage: StorageType::File,
        // A full stream says so, instead of dropping what nobody has read yet.
        discard: DiscardPolicy::New,
        num_replicas: config.replicas,
        duplicate_window: config.duplicate_window,
        ..Config::default()
    }
}

pub(crate) fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_taken(kind: &CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

/// What makes publishing impossible.
pub(crate) fn defect(stream: &Config) -> Option<&'static str> {
    if stream.no_ack {
        return Some("has no_ack set: it never confirms a message, so none could ever count as delivered");
    }
    if stream.sealed {
        return Some("is sealed: it takes no messages any more");
    }
    if stream.mirror.is_some() {
        return Some("is a mirror: it takes no messages of its own");
    }
    None
}

/// What loses confirmed messages, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Risk {
    pub(crate) detail: &'static str,
    pub(crate) remedy: &'static str,
}

pub(crate) fn risks(stream: &Config) -> Vec<Risk> {
    let limited = stream.max_messages > 0 || stream.max_bytes > 0 || stream.max_messages_per_subject > 0;
    let mut risks = Vec::new();
    let mut add = |found, detail, remedy| {
        if found {
            risks.push(Risk { detail, remedy });
        }
    };
    add(
        stream.storage == StorageType::Memory,
        "keeps messages in memory only: a restart of the server loses them",
        "storage file",
    );
    add(
        limited && stream.discard == DiscardPolicy::Old,
        "drops its oldest messages when it is full, read or not",
        "discard new",
    );
    add(
        !stream.max_age.is_zero() && stream.max_age < Duration::from_secs(24 * 3600),
        "drops messages after less than a day, read or not",
        "a max_age that is longer than any outage of a consumer",
    );
    add(
        stream.retention == RetentionPolicy::Interest,
        "drops a message at once while no consumer is interested in it",
        "retention limits",
    );
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_created_has_neither_defects_nor_risks() {
        let config: NatsConfig =
            "nats://h?stream=S&create=true&subjects=s.>&duplicate_window=10min".parse().unwrap();
        let stream = wanted(&config, "S");
        assert_eq!(defect(&stream), None);
        assert_eq!(risks(&stream), Vec::new());
        assert_eq!(stream.duplicate_window, Duration::from_secs(600));
    }

    #[test]
    fn what_loses_messages_is_named() {
        let dropping = |change: fn(&mut Config)| {
            let mut stream = Config::default();
            change(&mut stream);
            (defect(&stream).is_some(), risks(&stream).len())
        };
        assert_eq!(dropping(|_| ()), (false, 0));
        assert_eq!(dropping(|s| s.storage = StorageType::Memory), (false, 1));
        assert_eq!(dropping(|s| s.max_bytes = 1), (false, 1));
        assert_eq!(dropping(|s| s.max_messages = -1), (false, 0));
        assert_eq!(dropping(|s| s.max_age = Duration::from_secs(3600)), (false, 1));
        assert_eq!(dropping(|s| s.max_age = Duration::from_secs(7 * 86_400)), (false, 0));
        assert_eq!(dropping(|s| s.retention = RetentionPolicy::Interest), (false, 1));
        assert_eq!(dropping(|s| s.no_ack = true), (true, 0));
        assert_eq!(dropping(|s| s.sealed = true), (true, 0));
    }
}
