use async_nats::Subject;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::context::PublishErrorKind::MaxPayloadExceeded;
use outbox_core::{Envelope, OutboxMessage, PublishError, PublishErrorKind};
use tokio::time::{Instant, timeout_at};

use crate::codec::{self, Record};
use crate::connection::Connection;
use crate::error::{Failure, publish_error};

type PublishResult = Result<(), PublishError>;

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
    /// The first is sent while the next is encoded.
    pub(crate) async fn send(self, connection: &Connection, deadline: Instant) -> Vec<PublishResult> {
        // A call that is dropped half-way leaves messages behind that nobody waits for.
        let mut doubt = Doubt { connection, cleared: false };
        let mut sent = Vec::with_capacity(self.messages.len());
        for message in self.messages {
            sent.push(match self.record(message) {
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
