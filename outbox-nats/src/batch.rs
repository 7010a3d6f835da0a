use std::future::IntoFuture;

use async_nats::Subject;
use async_nats::jetstream::context::PublishErrorKind::{MaxPayloadExceeded, StreamNotFound};
use async_nats::jetstream::context::{PublishAckFuture, PublishError as AckError};
use async_nats::jetstream::publish::PublishAck;
use futures_util::FutureExt;
use outbox_core::{Envelope, OutboxMessage, PublishError, PublishErrorKind};
use tokio::time::{Instant, timeout_at};

use crate::codec::{self, Record};
use crate::connection::Connection;
use crate::error::{Failure, publish_error};
use crate::untaken::{Taker, takers};

type PublishResult = Result<(), PublishError>;
/// A message that is under way, or why it is not.
type Sent = Result<PublishAckFuture, PublishError>;

/// What came of the messages of one call.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// In the order of the messages.
    pub(crate) results: Vec<PublishResult>,
    /// The places of those that nobody answered for.
    pub(crate) untaken: Vec<usize>,
}

impl Outcome {
    /// The results come from the last to the first.
    fn add(&mut self, place: usize, answer: Result<PublishAck, AckError>, subject: &str) {
        if matches!(&answer, Err(error) if error.kind() == StreamNotFound) {
            self.untaken.push(place);
        }
        self.results.push(match answer {
            // Also if it says `duplicate`: the stream has it, from a try whose answer was lost.
            Ok(_) => Ok(()),
            Err(error) => Err(publish_error(Failure::Ack { error, subject })),
        });
    }
}

/// The client's own thread sleeps when it has sent what it was given. This many at once wake it seldom, and the first of a
/// large batch does not wait for the rest.
const ENCODED_AT_ONCE: usize = 64;

/// The messages of one call. Results come in their order.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) messages: &'a [OutboxMessage],
    pub(crate) envelope: &'a Envelope,
}

impl Batch<'_> {
    fn record(&self, message: &OutboxMessage) -> Result<Record, PublishError> {
        codec::encode(message, self.envelope).map_err(|error| publish_error(Failure::Unencodable(error)))
    }

    /// The results if none is sent. What could never be sent says so all the same.
    pub(crate) fn unsent(self, why: impl Fn() -> PublishError) -> Vec<PublishResult> {
        let unsent = |message| self.record(message).and_then(|_| Err(why()));
        self.messages.iter().map(unsent).collect()
    }

    /// Hands all messages to the client, and then waits for all acknowledgements, so that they are under way together.
    /// The first are sent while the next are encoded.
    pub(crate) async fn send(self, connection: &Connection, deadline: Instant) -> Outcome {
        // A call that is dropped half-way leaves messages behind that nobody waits for.
        let mut doubt = Doubt { connection, cleared: false };
        let mut sent = Vec::with_capacity(self.messages.len());
        if timeout_at(deadline, self.hand_over(connection, &mut sent)).await.is_err() {
            let (_, rest) = self.messages.split_at(sent.len());
            sent.extend(
                rest.iter()
                    .map(|message| self.record(message).and_then(|_| Err(publish_error(Failure::NotSent)))),
            );
        }
        let outcome = self.outcome(connection, sent, deadline).await;
        doubt.cleared = !outcome.results.iter().any(is_unknown);
        outcome
    }

    /// Finds out why nobody answered for some messages, and says so in their results. Returns whether a stream is missing.
    pub(crate) async fn explain(
        self,
        outcome: &mut Outcome,
        connection: &Connection,
        deadline: Instant,
    ) -> bool {
        let subjects = outcome.untaken.iter().map(|place| self.subject(*place)).collect();
        let takers = takers(connection, subjects, deadline).await;
        for place in &outcome.untaken {
            let subject = self.subject(*place);
            if let (Some(result), Some(taker)) = (outcome.results.get_mut(*place), takers.get(subject)) {
                *result = Err(publish_error(Failure::Untaken { subject, taker }));
            }
        }
        takers.values().any(|taker| matches!(taker, Taker::Nobody))
    }

    async fn hand_over(self, connection: &Connection, sent: &mut Vec<Sent>) {
        // The messages of a topic share its name.
        let mut last: Option<Subject> = None;
        for messages in self.messages.chunks(ENCODED_AT_ONCE) {
            let records: Vec<_> = messages.iter().map(|message| self.record(message)).collect();
            for (message, record) in messages.iter().zip(records) {
                let topic = message.topic().as_str();
                let subject =
                    last.take().filter(|last| last.as_str() == topic).unwrap_or_else(|| topic.into());
                last = Some(subject.clone());
                sent.push(match record {
                    Ok(record) => hand_over(connection, subject, record).await,
                    Err(error) => Err(error),
                });
            }
        }
    }

    /// The last one first: a stream acknowledges in the order of its messages, and so this task is woken once.
    async fn outcome(self, connection: &Connection, mut sent: Vec<Sent>, deadline: Instant) -> Outcome {
        let mut outcome = Outcome { results: Vec::with_capacity(sent.len()), untaken: Vec::new() };
        let all = async {
            while let Some(last) = sent.pop() {
                match last {
                    Ok(ack) => outcome.add(sent.len(), ack.await, self.subject(sent.len())),
                    Err(error) => outcome.results.push(Err(error)),
                }
            }
        };
        if timeout_at(deadline, all).await.is_err() {
            outcome.results.push(Err(unanswered(connection, self.subject(sent.len()))));
            // Those that are answered count all the same.
            while let Some(last) = sent.pop() {
                let subject = self.subject(sent.len());
                match last.map(|ack| ack.into_future().now_or_never()) {
                    Ok(Some(answer)) => outcome.add(sent.len(), answer, subject),
                    Ok(None) => outcome.results.push(Err(unanswered(connection, subject))),
                    Err(error) => outcome.results.push(Err(error)),
                }
            }
        }
        outcome.results.reverse();
        outcome
    }

    fn subject(&self, place: usize) -> &str {
        self.messages.get(place).map_or("", |message| message.topic().as_str())
    }
}

fn is_unknown(result: &PublishResult) -> bool {
    matches!(result, Err(error) if error.kind() == PublishErrorKind::Unknown)
}

async fn hand_over(connection: &Connection, subject: Subject, record: Record) -> Sent {
    // Without this the client would keep the message and send it once it is connected again.
    if !connection.is_up() {
        return Err(publish_error(Failure::Lost));
    }
    let Record { headers, payload } = record;
    match connection.jetstream.publish_with_headers(subject, headers, payload).await {
        Ok(ack) => Ok(ack),
        Err(error) if error.kind() == MaxPayloadExceeded => Err(publish_error(Failure::TooLarge(error))),
        Err(_) => {
            // Nobody reads the client's queue any more: whatever happened there, this connection is no good.
            connection.stop();
            Err(publish_error(Failure::Lost))
        }
    }
}

fn unanswered(connection: &Connection, subject: &str) -> PublishError {
    if connection.forbids(subject) {
        return publish_error(Failure::Forbidden(subject));
    }
    publish_error(Failure::NoAck)
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
