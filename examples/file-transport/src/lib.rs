//! A transport to files, one for each topic: the smallest adapter for a broker. `docs/adapters.md` walks through it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use outbox_core::{
    Envelope, EnvelopeNames, Finding, MessageError, OrderingKey, OutboxMessage, PublishError, Topic,
    Transport, TransportCapabilities,
};
use serde_json::{Map, json};
use tokio::sync::RwLock;

/// Bytes of payload that it takes.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

/// Appends each message as a line of JSON to `<folder>/<topic>.jsonl`, and confirms it when the file is synced. A topic
/// exists if its file does.
#[derive(Debug)]
pub struct FileTransport {
    folder: PathBuf,
    /// Whether it is open. Calls that are under way hold it for reading, so whoever gets it for writing is alone.
    open: Arc<RwLock<bool>>,
}

impl FileTransport {
    /// Writes to the files of this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), open: Arc::new(RwLock::new(true)) }
    }

    fn file(&self, topic: &str) -> PathBuf {
        self.folder.join(format!("{topic}.jsonl"))
    }
}

#[async_trait]
impl Transport for FileTransport {
    fn capabilities(&self) -> TransportCapabilities {
        // No pipelined order: when the file of a topic can't be written, a later message of the same key that goes to
        // another topic may be. So the relay has one message of each key under way.
        TransportCapabilities::new("file")
            .max_payload(Some(MAX_PAYLOAD))
            .durability("a disk that keeps what it has synced")
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        // In the job, so that a call that is dropped is under way until its last byte is written.
        let under_way = Arc::clone(&self.open).read_owned().await;
        if !*under_way {
            return batch.iter().map(|_| Err(closed())).collect();
        }
        let mut results: Vec<_> = batch.iter().map(|_| Ok(())).collect();
        let mut files: BTreeMap<PathBuf, Append> = BTreeMap::new();
        for (position, message) in batch.iter().enumerate() {
            match line(message) {
                Ok(line) => {
                    let topic = message.topic().as_str();
                    let append = files.entry(self.file(topic)).or_insert_with(|| Append::to(topic));
                    append.lines.extend(line);
                    append.positions.push(position);
                }
                Err(error) => results[position] = Err(error),
            }
        }
        let written = tokio::task::spawn_blocking(move || {
            let _under_way = under_way;
            let append = |(path, append): (PathBuf, Append)| (append.run(&path), append.positions);
            files.into_iter().map(append).collect::<Vec<_>>()
        });
        let Ok(written) = written.await else {
            return batch
                .iter()
                .map(|_| Err(PublishError::unknown("the writing thread has panicked")))
                .collect();
        };
        for (result, positions) in written {
            for position in positions {
                results[position] = match &result {
                    Ok(()) => Ok(()),
                    Err(failed) => Err(failed.error()),
                };
            }
        }
        results
    }

    async fn check(&self) -> Result<(), PublishError> {
        if !*self.open.read().await {
            return Err(closed());
        }
        match self.folder.metadata() {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(PublishError::unavailable(format!("{} is no folder", self.folder.display()))),
            Err(error) => Err(PublishError::unavailable(format!("{}: {error}", self.folder.display()))),
        }
    }

    async fn diagnose(&self, topics: &[Topic]) -> Vec<Finding> {
        let folder = match self.check().await {
            Ok(()) => Finding::ok("folder", self.folder.display().to_string()),
            Err(error) => Finding::error("folder", error.to_string(), "create it, or correct its name"),
        };
        let look = |topic: &Topic| {
            let (subject, file) = (format!("topic {topic}"), self.file(topic.as_str()));
            match file.exists() {
                true => Finding::ok(subject, file.display().to_string()),
                false => Finding::error(subject, "it has no file", format!("create {}", file.display())),
            }
        };
        std::iter::once(folder).chain(topics.iter().map(look)).collect()
    }

    async fn reset(&self) {
        // Nothing is held back here but what a thread is writing: when that has ended, nothing can arrive late.
        drop(self.open.write().await);
    }

    async fn close(&self, timeout: Duration) -> Result<(), PublishError> {
        match tokio::time::timeout(timeout, self.open.write()).await {
            Ok(mut open) => *open = false,
            Err(_) => return Err(PublishError::unknown(format!("still writing after {timeout:?}"))),
        }
        Ok(())
    }
}

/// Messages of one topic, written together: all of them or none.
struct Append {
    topic: String,
    lines: Vec<u8>,
    positions: Vec<usize>,
}

impl Append {
    fn to(topic: &str) -> Self {
        Self { topic: topic.to_owned(), lines: Vec::new(), positions: Vec::new() }
    }

    fn run(&self, path: &Path) -> Result<(), Failed> {
        let open = OpenOptions::new().append(true).open(path);
        let mut file = open.map_err(|error| match error.kind() {
            // Somebody can create it, and then the same messages go.
            ErrorKind::NotFound => Failed::Retryable(format!("topic {} has no file", self.topic)),
            ErrorKind::InvalidFilename => {
                Failed::Rejected(format!("topic {} is no name of a file", self.topic))
            }
            // The disk or the permissions: nothing was written, and no message is to blame.
            _ => Failed::Unavailable(format!("the file of topic {}: {error}", self.topic)),
        })?;
        let length = file.metadata().map_err(|error| Failed::Unavailable(error.to_string()))?.len();
        let written = file.write_all(&self.lines).and_then(|()| file.sync_data());
        written.map_err(|error| match file.set_len(length) {
            Ok(()) => Failed::Unavailable(format!("the file of topic {}: {error}", self.topic)),
            // A part of it may be there. Nobody knows, and the error says so.
            Err(_) => Failed::Unknown(format!("the file of topic {}: {error}", self.topic)),
        })
    }
}

/// What a write came to, for each of its messages.
enum Failed {
    Unavailable(String),
    Unknown(String),
    Retryable(String),
    Rejected(String),
}

impl Failed {
    /// The one place where failures become the kinds that the relay decides by.
    fn error(&self) -> PublishError {
        match self {
            Self::Unavailable(text) => PublishError::unavailable(text),
            Self::Unknown(text) => PublishError::unknown(text),
            Self::Retryable(text) => PublishError::retryable(text),
            Self::Rejected(text) => PublishError::rejected(text),
        }
    }
}

fn closed() -> PublishError {
    PublishError::unavailable("the transport is closed")
}

/// A message as a line. The envelope names the headers as every transport does, and refuses what could inject one.
fn line(message: &OutboxMessage) -> Result<Vec<u8>, PublishError> {
    let bytes = message.payload().len();
    if bytes > MAX_PAYLOAD {
        let text = format!("the payload has {bytes} bytes, and at most {MAX_PAYLOAD} are taken");
        return Err(PublishError::rejected(text));
    }
    let mut headers = Map::new();
    let written = Envelope::new(EnvelopeNames::HYPHEN).write::<MessageError>(message, |name, value| {
        headers.insert(name.as_str().to_owned(), json!(value));
        Ok(())
    });
    written.map_err(|error| PublishError::rejected(error.to_string()))?;
    let line = json!({
        "key": message.ordering_key().map(OrderingKey::as_str),
        "headers": headers,
        "payload": BASE64_STANDARD.encode(message.payload()),
    });
    Ok(format!("{line}\n").into_bytes())
}
