//! MySQL and MariaDB.

mod backend;

/// Writes messages to an outbox in MySQL or MariaDB, through the connection of the caller's transaction.
pub type MySqlWriter = crate::DieselWriter<diesel::mysql::Mysql>;
/// An outbox in MySQL or MariaDB, for the relay and the operator.
pub type MySqlStore = crate::DieselStore<diesel::MysqlConnection>;
/// The inbox of a consumer, in MySQL or MariaDB.
pub type MySqlInbox = crate::DieselInbox<diesel::mysql::Mysql>;
