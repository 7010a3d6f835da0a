//! Diesel's own connections, which block.

mod backend;
mod connections;
mod driver;
mod inbox;
mod origin;
pub(crate) mod owned;
mod read;
mod store;
mod threads;
mod transaction;
mod writer;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use backend::BlockingBackend;
pub use driver::DieselDriver;
pub use inbox::{DieselInbox, InboxGuard};
#[cfg(feature = "mysql")]
pub use mysql::{MySqlInbox, MySqlStore, MySqlWriter};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresInbox, PostgresStore, PostgresWriter};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteInbox, SqliteStore, SqliteWriter};
pub use store::DieselStore;
pub use transaction::OutboxTransaction;
pub use writer::DieselWriter;
