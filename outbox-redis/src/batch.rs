use outbox_core::{OutboxMessage, PublishError};
use redis::{Cmd, Pipeline, RedisError, Value};
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
    // The server would close the connection, with everything else that is under way.
    let size = message.size();
    if size > limit {
        return Err(publish_error(Failure::TooLarge { bytes: size, limit }));
    }
    match config.mode {
        RedisMode::Stream => fields::add(message, key, &config.envelope, config.maxlen).map_err(unencodable),
        RedisMode::List => {
            let element = event::element(message, &config.envelope).map_err(unencodable)?;
            if element.len() > limit {
                return Err(publish_error(Failure::TooLarge { bytes: element.len(), limit }));
            }
            let mut cmd = Cmd::with_capacity(3, element.len() + 64);
            cmd.arg("LPUSH").arg(key).arg(&*element);
            Ok(cmd)
        }
    }
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
