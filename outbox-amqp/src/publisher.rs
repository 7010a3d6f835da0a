use std::sync::{Arc, PoisonError};

use lapin::Channel;
use lapin::types::ShortString;
use outbox_core::{BrokerConfigError, OutboxMessage, PublishError, PublishErrorKind};
use tokio::time::{Instant, timeout_at};

use crate::codec::{self, Record};
use crate::connection::{Connection, Readiness};
use crate::error::{Failure, blames_a_message, publish_error};
use crate::link::{Link, NoConnection};
use crate::window::Outcome;
use crate::{AmqpConfig, tls, topology, window};

pub(crate) type PublishResult = Result<(), PublishError>;

/// Publishes windows of messages, each on a channel that nobody else uses meanwhile.
pub(crate) struct Publisher {
    pub(crate) config: AmqpConfig,
    pub(crate) link: Link,
}

impl Publisher {
    pub(crate) fn new(config: AmqpConfig) -> Result<Self, BrokerConfigError> {
        let config = config.checked()?;
        let link = Link::new(config.endpoint.clone(), tls::connector(&config.endpoint.tls)?);
        Ok(Self { config, link })
    }

    /// One result per message, at the deadline at the latest.
    pub(crate) async fn publish(&self, messages: &[OutboxMessage], deadline: Instant) -> Vec<PublishResult> {
        let connection = match self.connection(deadline).await {
            Ok(connection) => connection,
            Err(error) => return all(messages, &error),
        };
        let encoded: Vec<Result<Record, PublishError>> =
            messages.iter().map(|message| self.encode(&connection, message)).collect();
        let mut records = Vec::with_capacity(encoded.len());
        let mut results: Vec<PublishResult> = Vec::with_capacity(encoded.len());
        for record in encoded {
            results.push(record.map(|record| records.push(record)));
        }
        if records.is_empty() {
            return results;
        }
        // A call that is dropped half-way leaves messages behind that nobody waits for.
        let mut doubt = Doubt::of(&connection);
        let alone = records.len() == 1;
        let closed = match self.publish_window(&connection, records, deadline).await {
            Ok(outcome) => {
                let encoded = results.iter_mut().filter(|result| result.is_ok());
                encoded.zip(outcome.results).for_each(|(result, known)| *result = known);
                outcome.closed
            }
            Err(error) => {
                let text = error.to_string();
                for result in results.iter_mut().filter(|result| result.is_ok()) {
                    *result = Err(PublishError::new(error.kind(), text.clone()));
                }
                None
            }
        };
        // One that was alone has the blame; among several it is not known whose it is.
        if !alone && closed.is_some_and(|error| blames_a_message(&error)) {
            self.publish_singly(&connection, messages, &mut results, deadline).await;
        }
        doubt.cleared = !results.iter().any(is_unknown);
        results
    }

    /// Publishes again what has no answer, because the broker closed the channel for one of them: one at a time, so that
    /// only the right one is to blame. What it had taken before arrives twice.
    async fn publish_singly(
        &self,
        connection: &Arc<Connection>,
        messages: &[OutboxMessage],
        results: &mut [PublishResult],
        deadline: Instant,
    ) {
        let mut connection = Arc::clone(connection);
        let mut replaced: Option<Doubt> = None;
        for (message, result) in messages.iter().zip(results) {
            while is_unknown(result) {
                if Instant::now() >= deadline || connection.is_blocked() {
                    return;
                }
                let Ok(record) = self.encode(&connection, message) else { break };
                let lost = match self.publish_window(&connection, vec![record], deadline).await {
                    Ok(mut outcome) => {
                        if let Some(known) = outcome.results.pop() {
                            *result = known;
                        }
                        is_unknown(result) && outcome.closed.is_none()
                    }
                    // Where nothing was sent, the first time decides.
                    Err(error) => error.kind() == PublishErrorKind::Unavailable,
                };
                if !is_unknown(result) {
                    break;
                }
                if !lost || replaced.is_some() {
                    return;
                }
                // When the client has written one more message behind the end of the channel, the broker closes the
                // connection as well.
                connection.doubt();
                self.link.cut().await;
                let Ok(next) = self.connection(deadline).await else { return };
                replaced = Some(Doubt::of(&next));
                connection = next;
            }
        }
        if let Some(doubt) = &mut replaced {
            doubt.cleared = true;
        }
    }

    /// What became of the messages of a window; or the error of all of them, if nothing was sent.
    async fn publish_window(
        &self,
        connection: &Connection,
        records: Vec<Record>,
        deadline: Instant,
    ) -> Result<Outcome, PublishError> {
        let exchange = self.config.exchange.as_str();
        let channel = match timeout_at(deadline, self.ready(connection, &records)).await {
            Ok(ready) => {
                ready.map_err(|error| publish_error(Failure::NotReady { error: &error, exchange }))?
            }
            Err(_) => return Err(publish_error(Failure::NotSent)),
        };
        let alone = match &records[..] {
            [record] => Some(record.routing_key.clone()),
            _ => None,
        };
        let mut outcome = window::publish(&channel, records, &self.config, deadline).await;
        forget(connection, &outcome.stray_topics);
        if outcome.certain {
            connection.give_back(channel);
            connection.answered();
        }
        // Alone on its channel, and not lost with its connection: it is this message that the broker means.
        if let (Some(topic), Some(error)) = (alone, &outcome.closed)
            && connection.is_up()
        {
            let topic = topic.as_str();
            outcome.results = vec![Err(publish_error(Failure::Refused { error, topic, exchange }))];
        }
        Ok(outcome)
    }

    fn encode(&self, connection: &Connection, message: &OutboxMessage) -> Result<Record, PublishError> {
        let record = codec::encode(message, &self.config.envelope, connection.frame_max());
        record.map_err(|error| publish_error(Failure::Unencodable(error)))
    }

    /// A channel, with the exchange or the queues behind it.
    async fn ready(&self, connection: &Connection, records: &[Record]) -> lapin::Result<Channel> {
        let AmqpConfig { exchange, create, queue_type, .. } = &self.config;
        let fresh = async |channel: &Channel| topology::exchange(channel, exchange, *create).await;
        let mut channel = match connection.channel(fresh).await {
            // It exists with other settings, and is left as it is.
            Err(error) if topology::is_different(&error) => connection.channel(async |_| Ok(())).await?,
            other => other?,
        };
        if *create && exchange.is_empty() {
            for topic in undeclared(connection, records) {
                match topology::queue(&channel, &topic, *queue_type).await {
                    // The same, or this user may not declare it; if there is none, the messages come back. The question
                    // has cost the channel.
                    Err(error) if error.is_amqp_soft_error() => {
                        channel = connection.channel(async |_| Ok(())).await?;
                    }
                    other => drop(other?),
                }
                connection.declared.lock().unwrap_or_else(PoisonError::into_inner).insert(topic);
            }
        }
        Ok(channel)
    }

    /// A connection that takes messages.
    async fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, PublishError> {
        // The next host is not to be passed over because the one before took all of the time.
        if Instant::now() >= deadline {
            return Err(publish_error(Failure::NotSent));
        }
        let unreachable = |text: &str| publish_error(Failure::Unreachable(text));
        let connection = match timeout_at(deadline, self.link.connection()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(NoConnection::Closed)) => return Err(publish_error(Failure::Closed)),
            Ok(Err(NoConnection::Unreachable(text))) => return Err(unreachable(&text)),
            Err(_) => return Err(unreachable(&format!("{}: timed out", self.config.endpoint.addresses()))),
        };
        match connection.readiness(deadline).await {
            Ok(Readiness::Takes) => Ok(connection),
            // They would wait in the client, or on the way, until the alarm is over, whoever has given up by then.
            Ok(Readiness::Blocked) => Err(publish_error(Failure::Blocked)),
            Ok(Readiness::Silent) => Err(publish_error(Failure::Silent)),
            Err(error) => Err(publish_error(Failure::NotReady { error: &error, exchange: "" })),
        }
    }

    /// Whether messages could be published now.
    pub(crate) async fn look(&self, deadline: Instant) -> Result<(), PublishError> {
        let connection = self.connection(deadline).await?;
        let exchange = &self.config.exchange;
        let looking = async {
            let channel = self.ready(&connection, &[]).await?;
            // Also one that was idle: the exchange may have been deleted since.
            topology::exchange(&channel, exchange, false).await?;
            connection.give_back(channel);
            Ok(())
        };
        match timeout_at(deadline, looking).await {
            Ok(found) => found.map_err(|error| publish_error(Failure::NotReady { error: &error, exchange })),
            Err(_) => Err(publish_error(Failure::CheckTimedOut)),
        }
    }
}

/// The same error for each.
pub(crate) fn all(messages: &[OutboxMessage], error: &PublishError) -> Vec<PublishResult> {
    let text = error.to_string();
    messages.iter().map(|_| Err(PublishError::new(error.kind(), text.clone()))).collect()
}

fn is_unknown(result: &PublishResult) -> bool {
    matches!(result, Err(error) if error.kind() == PublishErrorKind::Unknown)
}

/// Topics whose queue was not declared on this connection yet.
fn undeclared(connection: &Connection, records: &[Record]) -> Vec<String> {
    let declared = connection.declared.lock().unwrap_or_else(PoisonError::into_inner);
    let mut topics = Vec::new();
    for record in records {
        let topic = record.routing_key.as_str();
        if !declared.contains(topic) && !topics.iter().any(|known: &String| known == topic) {
            topics.push(topic.to_owned());
        }
    }
    topics
}

/// A queue that was declared and has taken nothing was deleted since: the next attempt is to declare it again.
fn forget(connection: &Connection, topics: &[ShortString]) {
    if !topics.is_empty() {
        let mut declared = connection.declared.lock().unwrap_or_else(PoisonError::into_inner);
        declared.retain(|known| !topics.iter().any(|topic| topic.as_str() == known));
    }
}

/// Marks the connection as doubtful when it is dropped, unless it was cleared.
struct Doubt {
    connection: Arc<Connection>,
    cleared: bool,
}

impl Doubt {
    fn of(connection: &Arc<Connection>) -> Self {
        Self { connection: Arc::clone(connection), cleared: false }
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if !self.cleared {
            self.connection.doubt();
        }
    }
}
