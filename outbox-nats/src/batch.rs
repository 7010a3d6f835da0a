use async_nats::Subject;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::context::PublishErrorKind::MaxPayloadExceeded;
use outbox_core::{Envelope, OutboxMessage, PublishError, PublishErrorKind};
use tokio::time::{Instant, timeout_at};

use crate::codec::{self, Record};
use crate::connection::Connection;
use crate::error::{Failure, publish_error};

type PublishResult = Result<(), PublishError>;

/// The messages of one call, each as a record or as the reason why it can't be one. Results come in their order.
pub(crate) struct Batch(Vec<Result<Record, PublishError>>);

impl Batch {
    pub(crate) fn encode(messages: &[OutboxMessage], envelope: &Envelope) -> Self {
        let refused = |error| publish_error(Failure::Unencodable(error));
        let encode = |message| codec::encode(message, envelope).map_err(refused);
        Self(messages.iter().map(encode).collect())
    }

    pub(crate) fn sendable(&self) -> usize {
        self.0.iter().filter(|record| record.is_ok()).count()
    }

    /// The results if none is sent.
    pub(crate) fn unsent(self, why: impl Fn() -> PublishError) -> Vec<PublishResult> {
        let unsent = |record: Result<Record, PublishError>| record.and_then(|_| Err(why()));
        self.0.into_iter().map(unsent).collect()
    }

    /// Hands all records to the client, and then waits for all acknowledgements, so that they are under way together.
    pub(crate) async fn send(self, connection: &Connection, deadline: Instant) -> Vec<PublishResult> {
        // A call that is dropped half-way leaves messages behind that nobody waits for.
        let mut doubt = Doubt { connection, cleared: false };
        let mut sent = Vec::with_capacity(self.0.len());
        for record in self.0 {
            sent.push(match record {
                Ok(record) => hand_over(connection, record, deadline).await,
                Err(error) => Err(error),
            });
        }
        let mut results = Vec::with_capacity(sent.len());
        for message in sent {
            results.push(match message {
                Ok((ack, subject)) => confirmation(connection, ack, &subject, deadline).await,
                Err(error) => Err(error),
            });
        }
        doubt.cleared = !results.iter().any(is_unknown);
        results
    }
}

fn is_unknown(result: &PublishResult) -> bool {
    matches!(result, Err(error) if error.kind() == PublishErrorKind::Unknown)
}

async fn hand_over(
    connection: &Connection,
    record: Record,
    deadline: Instant,
) -> Result<(PublishAckFuture, Subject), PublishError> {
    // Without this the client would keep the message and send it once it is connected again.
    if !connection.is_up() {
        return Err(publish_error(Failure::Lost));
    }
    let Record { subject, headers, payload } = record;
    let sending = connection.jetstream.publish_with_headers(subject.clone(), headers, payload);
    match timeout_at(deadline, sending).await {
        Ok(Ok(ack)) => Ok((ack, subject)),
        Ok(Err(error)) if error.kind() == MaxPayloadExceeded => Err(publish_error(Failure::TooLarge(error))),
        Ok(Err(_)) => {
            // Nobody reads the client's queue any more: whatever happened there, this connection is no good.
            connection.stop();
            Err(publish_error(Failure::Lost))
        }
        Err(_) => Err(publish_error(Failure::NotSent)),
    }
}

async fn confirmation(
    connection: &Connection,
    ack: PublishAckFuture,
    subject: &str,
    deadline: Instant,
) -> PublishResult {
    match timeout_at(deadline, ack).await {
        // Also if it says `duplicate`: the stream has it, from a try whose answer was lost.
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(publish_error(Failure::Ack { error, subject })),
        Err(_) if connection.forbids(subject) => Err(publish_error(Failure::Forbidden(subject))),
        Err(_) => Err(publish_error(Failure::NoAck)),
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
