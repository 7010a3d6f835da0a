use std::error::Error;

use crate::OutboxMessage;

/// Writes messages through the connection that holds the caller's open transaction.
///
/// # Contract
///
/// Between the writer and the caller: when the caller's transaction commits, every message is in the outbox; when it
/// rolls back, none is. The writer never begins, commits or rolls back, and touches nothing but the outbox table.
///
/// * `Conn` is a type parameter, not an associated type: a service that is generic over its writer stays `Send`
///   (an associated type that borrows trips over rust-lang/rust#100013).
/// * The error is the ORM's own, so that `?` works inside the user's transaction closure.
/// * All messages go in one `INSERT`, however many (an adapter may split what exceeds the database's packet size).
///
/// After an error the transaction is unusable: roll it back. PostgreSQL has aborted it and would answer a `COMMIT` with
/// a silent `ROLLBACK`; MariaDB and MySQL may have kept the business rows and dropped only the message (error 1205).
///
/// # Cancel safety
///
/// No. A dropped future may have written some messages; roll the transaction back.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't enqueue through `{Conn}`",
    note = "pass the connection of your open transaction (with sqlx: `&mut *tx`), not a pool: a message that is not \
            in the transaction of its business data is a dual write"
)]
pub trait OutboxWriter<Conn: ?Sized>: Send + Sync {
    /// The ORM's error.
    type Error: Error + Send + Sync + 'static;

    /// Writes the messages. An empty slice does nothing.
    fn enqueue_all(
        &self,
        conn: &mut Conn,
        messages: &[OutboxMessage],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Writes one message.
    fn enqueue(
        &self,
        conn: &mut Conn,
        message: &OutboxMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.enqueue_all(conn, std::slice::from_ref(message))
    }
}

/// [`OutboxWriter`] for ORMs that block. The same contract.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't enqueue through `{Conn}`",
    note = "pass the connection of your open transaction, not a pool"
)]
pub trait BlockingOutboxWriter<Conn: ?Sized>: Send + Sync {
    /// The ORM's error.
    type Error: Error + Send + Sync + 'static;

    /// Writes the messages. An empty slice does nothing.
    fn enqueue_all(&self, conn: &mut Conn, messages: &[OutboxMessage]) -> Result<(), Self::Error>;

    /// Writes one message.
    fn enqueue(&self, conn: &mut Conn, message: &OutboxMessage) -> Result<(), Self::Error> {
        self.enqueue_all(conn, std::slice::from_ref(message))
    }
}
