//! PostgreSQL.

mod backend;
mod channel;
mod notifier;
mod pooler;
mod wakeup;

pub use notifier::PostgresNotifier;
pub use wakeup::{PostgresWakeup, WakeupError};

/// Writes messages to an outbox in PostgreSQL, through the connection of the caller's transaction.
pub type PostgresWriter = crate::SqlxWriter<sqlx::Postgres>;
/// The inbox of a consumer, in PostgreSQL.
pub type PostgresInbox = crate::SqlxInbox<sqlx::Postgres>;
/// An outbox in PostgreSQL, for the relay and the operator.
pub type PostgresStore = crate::SqlxStore<sqlx::Postgres>;
