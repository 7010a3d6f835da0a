//! SQLite.

mod backend;

/// Writes messages to an outbox in SQLite, through the connection of the caller's transaction.
pub type SqliteWriter = crate::DieselWriter<diesel::sqlite::Sqlite>;
/// An outbox in SQLite, for the relay and the operator.
pub type SqliteStore = crate::DieselStore<diesel::SqliteConnection>;
/// The inbox of a consumer, in SQLite.
pub type SqliteInbox = crate::DieselInbox<diesel::sqlite::Sqlite>;
