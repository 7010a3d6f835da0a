//! Outbox writer and store, and inbox, on sqlx: PostgreSQL, MySQL/MariaDB, SQLite.
//!
//! Each database has a feature: `postgres`, `mysql`, `sqlite`; `tls` adds encrypted connections.
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # async fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! use outbox_core::OutboxMessage;
//! use outbox_sqlx::PostgresWriter;
//!
//! let outbox = PostgresWriter::new();
//! let message = OutboxMessage::json("orders.placed", &serde_json::json!({ "order": 7 }))?.build()?;
//!
//! let mut tx = pool.begin().await?;
//! sqlx::query("INSERT INTO orders (id) VALUES (7)").execute(&mut *tx).await?;
//! outbox.enqueue(&mut *tx, &message).await?;
//! tx.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # After an error
//!
//! Roll the transaction back, also where the database would let it go on: PostgreSQL answers the `COMMIT` of a failed
//! transaction with a `ROLLBACK` that sqlx reports as success, and MariaDB and MySQL keep the rest of a transaction
//! whose one statement ran into a lock wait time-out.

#![forbid(unsafe_code)]

mod inbox;
mod store;
mod transaction;
mod writer;

mod backend;
mod connections;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod decode;
mod driver;
mod error;
mod query;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use backend::Backend;
pub use driver::SqlxDriver;
pub use error::is_conflict;
pub use inbox::{InboxGuard, SqlxInbox};
#[cfg(feature = "mysql")]
pub use mysql::{MySqlInbox, MySqlStore, MySqlWriter};
#[cfg(feature = "postgres")]
pub use postgres::{
    PostgresInbox, PostgresNotifier, PostgresStore, PostgresWakeup, PostgresWriter, WakeupError,
};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteInbox, SqliteStore, SqliteWriter};
pub use store::SqlxStore;
pub use transaction::OutboxTransaction;
pub use writer::SqlxWriter;

/// Why a transaction with messages was not committed.
pub type TransactionError = outbox_core::TransactionError<sqlx::Error>;
