use outbox_core::{OutboxMessage, PublishError};
use redis::{Arg, Cmd, Pipeline, RedisError, Value};
use tokio::time::{Instant, timeout_at};

use crate::connection::Connection;
use crate::error::{Failure, is_elsewhere, publish_error};
use crate::{RedisConfig, RedisMode, event, fields};

pub(crate) type PublishResult = Result<(), PublishError>;

/// The messages of one call, as commands of one pipeline. Results come in their order.
pub(crate) struct Batch {
    pipeline: Pipeline,
    sent: usize,
    /// The key that each message goes to, or why it is not sent.
    messages: Vec<Result<String, PublishError>>,
}

impl Batch {
    pub(crate) fn encode(messages: &[OutboxMessage], config: &RedisConfig, limit: usize) -> Self {
        let mut batch = Self {
            pipeline: Pipeline::with_capacity(messages.len() + 1),
            sent: 0,
            messages: Vec::with_capacity(messages.len()),
        };
        for message in messages {
            let key = format!("{}{}", config.prefix, message.topic().as_str());
            let encoded = encode(message, &key, config, limit).map(|cmd| {
                batch.pipeline.add_command(cmd);
                batch.sent += 1;
                key
            });
            batch.messages.push(encoded);
        }
        batch
    }

    /// How many messages are to be sent.
    pub(crate) const fn len(&self) -> usize {
        self.sent
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.sent == 0
    }

    /// One result for each message that was sent, in their order, between those that were not.
    pub(crate) fn results(self, mut of_sent: impl FnMut(&str) -> PublishError) -> Vec<PublishResult> {
        self.messages.into_iter().map(|message| message.and_then(|key| Err(of_sent(&key)))).collect()
    }

    /// Sends everything in one go, and waits for all answers.
    pub(crate) async fn send(
        mut self,
        connection: &Connection,
        config: &RedisConfig,
        deadline: Instant,
    ) -> Vec<PublishResult> {
        // A call that is dropped half-way leaves messages behind that nobody waits for.
        let mut doubt = Doubt { connection, cleared: false };
        if config.wait > 0 {
            self.pipeline.cmd("WAIT").arg(config.wait).arg(config.patience());
        }
        let mut client = connection.client();
        let count = self.sent + usize::from(config.wait > 0);
        let answers = match timeout_at(deadline, client.send_packed_commands(&self.pipeline, 0, count)).await
        {
            Ok(Ok(answers)) if answers.len() == count => answers,
            Ok(Ok(_)) => return self.results(|_| publish_error(Failure::NoAnswer)),
            Ok(Err(error)) => return self.results(|_| publish_error(Failure::Lost(&error))),
            Err(_) => return self.results(|_| publish_error(Failure::NoAnswer)),
        };
        doubt.cleared = true;
        let replicas = (config.wait > 0).then(|| match answers.last() {
            Some(Value::Int(replicas)) => *replicas,
            _ => 0,
        });
        let missing = replicas.filter(|found| *found < i64::from(config.wait));
        let mut answers = answers.into_iter();
        let mut result = |key: String| match answers.next() {
            Some(Value::ServerError(error)) => {
                let error = RedisError::from(error);
                if is_elsewhere(&error) {
                    connection.stop();
                }
                Err(publish_error(Failure::Refused { error: &error, key: &key }))
            }
            Some(_) => match missing {
                Some(found) => Err(publish_error(Failure::NotReplicated { wanted: config.wait, found })),
                None => Ok(()),
            },
            None => Err(publish_error(Failure::NoAnswer)),
        };
        self.messages.into_iter().map(|message| message.and_then(&mut result)).collect()
    }
}

fn encode(
    message: &OutboxMessage,
    key: &str,
    config: &RedisConfig,
    limit: usize,
) -> Result<Cmd, PublishError> {
    let unencodable = |error| publish_error(Failure::Unencodable(error));
    // One value holds all of the payload, in every form: what is too large by itself need not be written first.
    fits(message.payload().len(), limit)?;
    let cmd = match config.mode {
        RedisMode::Stream => {
            fields::add(message, key, &config.envelope, config.maxlen).map_err(unencodable)?
        }
        RedisMode::List => {
            let element = event::element(message, &config.envelope).map_err(unencodable)?;
            let mut cmd = Cmd::with_capacity(3, element.len() + 64);
            cmd.arg("LPUSH").arg(key).arg(&*element);
            cmd
        }
    };
    fits(largest(&cmd), limit)?;
    Ok(cmd)
}

/// The limit is for each value of a command, not for all of it. The server would close the connection, with everything else
/// that is under way.
fn fits(bytes: usize, limit: usize) -> PublishResult {
    if bytes > limit {
        return Err(publish_error(Failure::TooLarge { bytes, limit }));
    }
    Ok(())
}

fn largest(cmd: &Cmd) -> usize {
    let length = |value: Arg<&[u8]>| match value {
        Arg::Simple(bytes) => bytes.len(),
        _ => 0,
    };
    cmd.args_iter().map(length).max().unwrap_or_default()
}

/// Marks the connection as doubtful when it is dropped, unless it was cleared.
struct Doubt<'a> {
    connection: &'a Connection,
    cleared: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.cleared {
            self.connection.doubt();
        }
    }
}

#[cfg(test)]
mod tests {
    use outbox_core::{Headers, MessageId, StoredParts};

    use super::*;

    const LIMIT: usize = 1_000;

    fn outcome(url: &str, payload: usize, header: usize) -> &'static str {
        let config: RedisConfig = format!("redis://localhost?{url}").parse().unwrap();
        let mut parts = StoredParts::new(MessageId::new(), "jobs", vec![b'x'; payload].into());
        let headers = serde_json::json!({ "a": "x".repeat(header), "b": "x".repeat(header) });
        parts.headers = Headers::from_json(&headers.to_string()).unwrap();
        let results = Batch::encode(&[OutboxMessage::stored(parts)], &config, LIMIT).messages;
        match &results[0] {
            Ok(_) => "sent",
            Err(error) if error.to_string().contains("(proto-max-bulk-len)") => "too large",
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_limit_is_for_each_value() {
        for (url, payload, header, expected) in [
            ("mode=stream", LIMIT, LIMIT, "sent"),
            ("mode=stream", LIMIT + 1, 0, "too large"),
            ("mode=stream", 0, LIMIT + 1, "too large"),
            // The headers do not go there.
            ("mode=list&envelope=raw", LIMIT, LIMIT + 1, "sent"),
            ("mode=list&envelope=raw", LIMIT + 1, 0, "too large"),
            // Everything is one value.
            ("mode=list", LIMIT / 4, LIMIT / 10, "sent"),
            ("mode=list", LIMIT / 4, LIMIT / 2, "too large"),
            ("mode=list", LIMIT - 10, 0, "too large"),
        ] {
            assert_eq!(outcome(url, payload, header), expected, "{url}: {payload} and twice {header}");
        }
    }
}
