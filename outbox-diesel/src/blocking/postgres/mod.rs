//! PostgreSQL.

mod backend;
mod pooler;

/// Writes messages to an outbox in PostgreSQL, through the connection of the caller's transaction.
pub type PostgresWriter = crate::DieselWriter<diesel::pg::Pg>;
/// An outbox in PostgreSQL, for the relay and the operator.
pub type PostgresStore = crate::DieselStore<diesel::PgConnection>;
/// The inbox of a consumer, in PostgreSQL.
pub type PostgresInbox = crate::DieselInbox<diesel::pg::Pg>;
