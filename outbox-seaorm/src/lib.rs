//! Outbox writer and store, and inbox, on sea-orm: PostgreSQL, MySQL/MariaDB, SQLite.
//!
//! Each database has a feature: `postgres`, `mysql`, `sqlite`. Which of them a connection leads to is seen at run time:
//! there is one [`SeaOrmWriter`], one [`SeaOrmStore`] and one [`SeaOrmInbox`]. `migration` adds the tables as a migration for a migrator of
//! your own. For encrypted connections choose a TLS feature of sea-orm, for example `runtime-tokio-rustls`.
//!
//! ```no_run
//! # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), Box<dyn std::error::Error>> {
//! use outbox_core::OutboxMessage;
//! use outbox_seaorm::SeaOrmWriter;
//! use sea_orm::{ConnectionTrait, TransactionTrait};
//!
//! let outbox = SeaOrmWriter::new();
//! let message = OutboxMessage::json("orders.placed", &serde_json::json!({ "order": 7 }))?.build()?;
//!
//! let txn = db.begin().await?;
//! txn.execute_unprepared("INSERT INTO orders (id) VALUES (7)").await?;
//! outbox.enqueue(&txn, &message).await?;
//! txn.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The same in a closure, which commits by itself:
//!
//! ```no_run
//! # async fn example(
//! #     db: sea_orm::DatabaseConnection,
//! #     outbox: outbox_seaorm::SeaOrmWriter,
//! #     message: outbox_core::OutboxMessage,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};
//!
//! db.transaction(|txn| {
//!     Box::pin(async move {
//!         txn.execute_unprepared("INSERT INTO orders (id) VALUES (7)").await?;
//!         outbox.enqueue(txn, &message).await?;
//!         Ok::<_, DbErr>(())
//!     })
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Or in a transaction that takes its messages along, refuses to be committed after an error that was ignored, and begins
//! anew after a conflict: [`SeaOrmWriter::transaction`].
//!
//! ```no_run
//! # async fn example(
//! #     db: sea_orm::DatabaseConnection,
//! #     message: outbox_core::OutboxMessage,
//! # ) -> Result<(), outbox_seaorm::TransactionError> {
//! use outbox_core::TransactionPolicy;
//! use outbox_seaorm::{SeaOrmWriter, TransactionError};
//! use sea_orm::ConnectionTrait;
//!
//! let outbox = SeaOrmWriter::new();
//! outbox
//!     .transaction(&db, TransactionPolicy::new(), async |tx| {
//!         tx.execute_unprepared("INSERT INTO orders (id) VALUES (7)").await?;
//!         tx.add(message.clone());
//!         Ok::<_, TransactionError>(())
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! A consumer has an inbox, by which the effects of a message happen once, however often it comes: [`SeaOrmInbox::process`].
//! What it sends in turn goes to the outbox in the same transaction.
//!
//! ```no_run
//! # async fn example(
//! #     db: sea_orm::DatabaseConnection,
//! #     message: outbox_core::OutboxMessage,
//! #     invoice: outbox_core::OutboxMessage,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use outbox_seaorm::{SeaOrmInbox, TransactionError};
//! use sea_orm::ConnectionTrait;
//!
//! let inbox = SeaOrmInbox::new("billing")?;
//! let processed = inbox
//!     .process(&db, &message, async |tx| {
//!         tx.execute_unprepared("UPDATE accounts SET balance = balance - 5 WHERE id = 7").await?;
//!         tx.add(invoice.clone());
//!         Ok::<_, TransactionError>(())
//!     })
//!     .await?;
//! if processed.is_done() {
//!     // … acknowledge the message …
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A connection that is no transaction is refused by the compiler, see [`TransactionConnection`].
//!
//! # After an error
//!
//! Roll the transaction back, also where the database would let it go on: PostgreSQL answers the `COMMIT` of a failed
//! transaction with a `ROLLBACK` that sea-orm reports as success, and MariaDB and MySQL keep the rest of a transaction
//! whose one statement ran into a lock wait time-out. A closure that passes the error on with `?` does so by itself, and
//! [`OutboxTransaction`] sees to it for you.

#![forbid(unsafe_code)]

mod connection;
mod inbox;
mod store;
mod transaction;
mod writer;

#[cfg(feature = "migration")]
mod migration;

mod connections;
mod driver;
mod error;
mod executor;
mod frame;
mod origin;
mod query;
mod row;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod decode;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod server;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sqlx_error;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use connection::TransactionConnection;
pub use driver::SeaOrmDriver;
pub use error::is_conflict;
pub use inbox::{InboxGuard, SeaOrmInbox};
#[cfg(feature = "migration")]
pub use migration::{OutboxMigration, migrations, migrations_with_names};
pub use store::SeaOrmStore;
pub use transaction::OutboxTransaction;
pub use writer::SeaOrmWriter;

/// Why a transaction with messages was not committed.
pub type TransactionError = outbox_core::TransactionError<sea_orm::DbErr>;
