use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{OutboxMessage, PublishError, Transport, TransportCapabilities};
use serde_json::{Map, Value, json};

/// Prints each message as one line of JSON, for trying things out and for pipes: `outbox relay --transport stdout: |
/// jq .payload`.
///
/// A message counts as delivered when its line was written and flushed. A payload that is no UTF-8 stands as
/// hexadecimal digits in `payload_hex`. A reader that has gone is a broker that is away: the messages wait.
pub struct StdoutTransport {
    // One batch after the other, so that the lines of a key stay in order.
    output: Arc<Mutex<dyn Write + Send>>,
}

impl StdoutTransport {
    /// Prints to the standard output of this process.
    #[must_use]
    pub fn new() -> Self {
        Self::to(io::stdout())
    }

    fn to(output: impl Write + Send + 'static) -> Self {
        Self { output: Arc::new(Mutex::new(output)) }
    }
}

impl Default for StdoutTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StdoutTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdoutTransport").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for StdoutTransport {
    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::new("stdout").pipelined_order(true)
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        let mut lines = Vec::new();
        for message in batch {
            lines.extend_from_slice(line(message).as_bytes());
            lines.push(b'\n');
        }
        let output = Arc::clone(&self.output);
        // A pipe whose reader is slow blocks, and must not block the relay's other work.
        let written = tokio::task::spawn_blocking(move || {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.write_all(&lines)?;
            output.flush()
        })
        .await;
        let failed = match written {
            Ok(Ok(())) => return batch.iter().map(|_| Ok(())).collect(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let error = || PublishError::unavailable(format!("can't write to standard output: {failed}"));
        batch.iter().map(|_| Err(error())).collect()
    }

    async fn check(&self) -> Result<(), PublishError> {
        Ok(())
    }

    async fn close(&self, _timeout: Duration) -> Result<(), PublishError> {
        Ok(())
    }
}

fn line(message: &OutboxMessage) -> String {
    let mut line = Map::new();
    let mut field = |name: &str, value: Value| {
        if !value.is_null() {
            line.insert(name.to_owned(), value);
        }
    };
    field("id", json!(message.id()));
    field("topic", json!(message.topic().as_str()));
    field("ordering_key", json!(message.ordering_key().map(|key| key.as_str())));
    field("event_type", json!(message.event_type()));
    field("schema_version", json!(message.schema_version()));
    field("aggregate_type", json!(message.aggregate_type()));
    field("aggregate_id", json!(message.aggregate_id()));
    field("correlation_id", json!(message.correlation_id()));
    field("content_type", json!(message.content_type()));
    let headers: Map<_, _> =
        message.headers().iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    field("headers", Value::Object(headers));
    match std::str::from_utf8(message.payload()) {
        Ok(text) => field("payload", json!(text)),
        Err(_) => field("payload_hex", json!(hex(message.payload()))),
    }
    Value::Object(line).to_string()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_core::PublishErrorKind;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_message_is_one_line_of_json() {
        let paper = Paper::default();
        let transport = StdoutTransport::to(paper.clone());
        let text = OutboxMessage::json("orders.placed", &"one\ntwo")
            .unwrap()
            .ordering_key(7)
            .header("tenant", "acme")
            .build()
            .unwrap();
        let raw = OutboxMessage::bytes("raw", vec![0xff, 0x00, 0x1a]).unwrap().build().unwrap();
        let results = transport.publish(&[text.clone(), raw]).await;
        assert!(results.iter().all(Result::is_ok) && results.len() == 2);

        let printed = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{printed}");
        let expected = json!({
            "id": text.id(), "topic": "orders.placed", "ordering_key": "7", "event_type": "orders.placed",
            "schema_version": 1, "content_type": "application/json", "headers": { "tenant": "acme" },
            "payload": "\"one\\ntwo\"",
        });
        assert_eq!(lines[0], expected);
        assert_eq!(lines[1]["payload_hex"], "ff001a");
        assert_eq!(lines[1].get("payload"), None);
    }

    struct Torn;

    impl Write for Torn {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_a_broker_that_is_away() {
        let message = OutboxMessage::bytes("t", "x").unwrap().build().unwrap();
        let results = StdoutTransport::to(Torn).publish(&[message]).await;
        assert_eq!(results[0].as_ref().unwrap_err().kind(), PublishErrorKind::Unavailable);
    }
}
