//! MySQL and MariaDB.

mod backend;

/// Writes messages to an outbox in MySQL or MariaDB, through the connection of the caller's transaction.
pub type MySqlWriter = crate::SqlxWriter<sqlx::MySql>;
/// The inbox of a consumer, in MySQL or MariaDB.
pub type MySqlInbox = crate::SqlxInbox<sqlx::MySql>;
/// An outbox in MySQL or MariaDB, for the relay and the operator.
pub type MySqlStore = crate::SqlxStore<sqlx::MySql>;
