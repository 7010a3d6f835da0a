//! SQLite.

mod backend;
mod version;

/// Writes messages to an outbox in SQLite, through the connection of the caller's transaction.
pub type SqliteWriter = crate::SqlxWriter<sqlx::Sqlite>;
/// The inbox of a consumer, in SQLite.
pub type SqliteInbox = crate::SqlxInbox<sqlx::Sqlite>;
/// An outbox in SQLite, for the relay and the operator.
pub type SqliteStore = crate::SqlxStore<sqlx::Sqlite>;
