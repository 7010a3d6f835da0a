//! On diesel-async.

mod attempts;
mod inbox;
mod producer;
mod store;
mod transaction;
mod writer;

mod backend;
mod connections;
mod connector;
mod depth;
mod driver;
#[cfg(any(feature = "async-postgres", feature = "async-mysql"))]
mod messages;
mod statements;

#[cfg(feature = "async-mysql")]
mod mysql;
#[cfg(feature = "async-postgres")]
mod pooler;
#[cfg(feature = "async-postgres")]
mod postgres;
#[cfg(feature = "async-sqlite")]
mod sqlite;

pub use backend::AsyncBackend;
pub use driver::AsyncDieselDriver;
pub use inbox::{AsyncDieselInbox, AsyncInboxGuard};
#[cfg(feature = "async-mysql")]
pub use mysql::{AsyncMySqlInbox, AsyncMySqlStore, AsyncMySqlWriter};
#[cfg(feature = "async-postgres")]
pub use postgres::{AsyncPostgresInbox, AsyncPostgresStore, AsyncPostgresWriter};
pub use producer::AsyncProducerConnection;
#[cfg(feature = "async-sqlite")]
pub use sqlite::{
    AsyncSqliteConnection, AsyncSqliteInbox, AsyncSqliteStore, AsyncSqliteWriter, SqliteThreads,
};
pub use store::AsyncDieselStore;
pub use transaction::AsyncOutboxTransaction;
pub use writer::AsyncDieselWriter;
