//! Outbox writer and store, and inbox, on diesel and diesel-async: PostgreSQL, MySQL/MariaDB, SQLite.
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # fn example(connection: &mut diesel::PgConnection) -> Result<(), Box<dyn std::error::Error>> {
//! use diesel::prelude::*;
//! use outbox_core::OutboxMessage;
//! use outbox_diesel::PostgresWriter;
//!
//! diesel::table! {
//!     orders (id) {
//!         id -> BigInt,
//!     }
//! }
//!
//! let outbox = PostgresWriter::new();
//! let message = OutboxMessage::json("orders.placed", &serde_json::json!({ "order": 7 }))?.build()?;
//!
//! connection.transaction(|connection| {
//!     diesel::insert_into(orders::table).values(orders::id.eq(7)).execute(connection)?;
//!     outbox.enqueue(connection, &message)
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! The error of a writer is diesel's own, so `?` also works in a closure that ends with an error type of yours. The
//! connection may be one of a pool, and the transaction a nested one.
//!
//! # Transactions that begin anew
//!
//! `transaction` of a writer runs its body again after a conflict, writes the messages right before the commit, and refuses
//! to commit where an error was ignored that has spoiled it. `begin` is the same without a body. What they give is a
//! connection, too.
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # fn example(connection: &mut diesel::PgConnection, outbox: outbox_diesel::PostgresWriter, message: outbox_core::OutboxMessage) -> Result<(), outbox_diesel::TransactionError> {
//! # use diesel::prelude::*;
//! # diesel::table! { orders (id) { id -> BigInt, } }
//! use outbox_core::TransactionPolicy;
//! use outbox_diesel::TransactionError;
//!
//! outbox.transaction(connection, TransactionPolicy::new(), |tx| {
//!     diesel::insert_into(orders::table).values(orders::id.eq(7)).execute(tx)?;
//!     tx.add(message.clone());
//!     Ok::<_, TransactionError>(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! The same with diesel-async. A transaction whose future is dropped takes its connection along.
//!
//! ```no_run
//! # #[cfg(feature = "async-postgres")]
//! # async fn example(pool: diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncPgConnection>, outbox: outbox_diesel::AsyncPostgresWriter, message: outbox_core::OutboxMessage) -> Result<(), Box<dyn std::error::Error>> {
//! # use diesel::ExpressionMethods;
//! # diesel::table! { orders (id) { id -> BigInt, } }
//! # use outbox_core::TransactionPolicy;
//! # use outbox_diesel::TransactionError;
//! use diesel_async::RunQueryDsl;
//!
//! let mut connection = pool.get().await?;
//! outbox
//!     .transaction(&mut *connection, TransactionPolicy::new(), async |tx| {
//!         diesel::insert_into(orders::table).values(orders::id.eq(7)).execute(tx).await?;
//!         tx.add(message.clone());
//!         Ok::<_, TransactionError>(())
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The inbox
//!
//! A broker may deliver a message again. The inbox remembers in the transaction of the effects which messages a consumer has
//! handled, so that they happen once. `process` runs its body only for a message that is fresh; `begin` gives a guard to
//! those who run their own loop, and `admit` works in a transaction of theirs.
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # fn example(connection: &mut diesel::PgConnection, message: outbox_core::OutboxMessage, shipped: outbox_core::OutboxMessage) -> Result<(), Box<dyn std::error::Error>> {
//! # use diesel::prelude::*;
//! # diesel::table! { shipments (id) { id -> BigInt, } }
//! use outbox_diesel::{PostgresInbox, TransactionError};
//!
//! let inbox = PostgresInbox::new("shipping")?;
//! let processed = inbox.process(connection, &message, |tx| {
//!     diesel::insert_into(shipments::table).values(shipments::id.eq(7)).execute(tx)?;
//!     tx.add(shipped.clone());
//!     Ok::<_, TransactionError>(())
//! })?;
//! if processed.is_done() {
//!     // … acknowledge the message …
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The same with diesel-async:
//!
//! ```no_run
//! # #[cfg(feature = "async-postgres")]
//! # async fn example(connection: &mut diesel_async::AsyncPgConnection, message: outbox_core::OutboxMessage) -> Result<(), Box<dyn std::error::Error>> {
//! # use diesel::ExpressionMethods;
//! # diesel::table! { shipments (id) { id -> BigInt, } }
//! use diesel_async::RunQueryDsl;
//! use outbox_diesel::{AsyncPostgresInbox, TransactionError};
//!
//! let inbox = AsyncPostgresInbox::new("shipping")?;
//! let processed = inbox
//!     .process(connection, &message, async |tx| {
//!         diesel::insert_into(shipments::table).values(shipments::id.eq(7)).execute(tx).await?;
//!         Ok::<_, TransactionError>(())
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! Each database has a feature for diesel's own connections, which block, and one for those of diesel-async. Several can
//! be on at once.
//!
//! | feature | connection | needs |
//! |---|---|---|
//! | `postgres` | `diesel::PgConnection` | libpq |
//! | `mysql` | `diesel::MysqlConnection` | libmariadb or libmysqlclient |
//! | `sqlite` | `diesel::SqliteConnection` | a C compiler: SQLite is compiled in |
//! | `async-postgres` | `diesel_async::AsyncPgConnection` | nothing |
//! | `async-mysql` | `diesel_async::AsyncMysqlConnection` | nothing |
//! | `async-sqlite` | `AsyncSqliteConnection` | as `sqlite`, which it turns on |
//!
//! The C libraries must be there when the program is built, with their headers or `pkg-config` files, and when it runs:
//!
//! | | libpq | libmariadb |
//! |---|---|---|
//! | Debian, Ubuntu | `apt install libpq-dev` | `apt install libmariadb-dev` |
//! | Fedora | `dnf install libpq-devel` | `dnf install mariadb-connector-c-devel` |
//! | macOS | `brew install libpq` | `brew install mariadb-connector-c` |
//!
//! Homebrew does not put libpq where programs look for it: set `PQ_LIB_DIR="$(brew --prefix libpq)/lib"` for the build.
//!
//! # After an error
//!
//! In a transaction of diesel's own: roll it back, also where the database would let it go on. PostgreSQL answers the
//! `COMMIT` of a failed transaction with a `ROLLBACK` that diesel may report as success, and MariaDB and MySQL keep the rest
//! of a transaction whose one statement ran into a lock wait time-out. With `?` in the closure of `transaction` that happens
//! by itself. What is to go on after an error belongs into a nested `transaction`, which is a savepoint.

#![forbid(unsafe_code)]
// Without a database there is nothing but the trait.
#![cfg_attr(
    not(any(
        feature = "postgres",
        feature = "mysql",
        feature = "sqlite",
        feature = "async-postgres",
        feature = "async-mysql"
    )),
    allow(dead_code)
)]

mod backend;
mod decode;
mod error;
mod statement;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod url;

#[cfg(any(feature = "async-postgres", feature = "async-mysql", feature = "async-sqlite"))]
mod asynchronous;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod blocking;

#[cfg(any(feature = "mysql", feature = "async-mysql"))]
mod mysql;
#[cfg(any(feature = "postgres", feature = "async-postgres"))]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(any(feature = "async-postgres", feature = "async-mysql", feature = "async-sqlite"))]
pub use asynchronous::{
    AsyncBackend, AsyncDieselDriver, AsyncDieselInbox, AsyncDieselStore, AsyncDieselWriter, AsyncInboxGuard,
    AsyncOutboxTransaction, AsyncProducerConnection,
};
#[cfg(feature = "async-mysql")]
pub use asynchronous::{AsyncMySqlInbox, AsyncMySqlStore, AsyncMySqlWriter};
#[cfg(feature = "async-postgres")]
pub use asynchronous::{AsyncPostgresInbox, AsyncPostgresStore, AsyncPostgresWriter};
#[cfg(feature = "async-sqlite")]
pub use asynchronous::{
    AsyncSqliteConnection, AsyncSqliteInbox, AsyncSqliteStore, AsyncSqliteWriter, SqliteThreads,
};
pub use backend::Backend;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
pub use blocking::{
    BlockingBackend, DieselDriver, DieselInbox, DieselStore, DieselWriter, InboxGuard, OutboxTransaction,
};
#[cfg(feature = "mysql")]
pub use blocking::{MySqlInbox, MySqlStore, MySqlWriter};
#[cfg(feature = "postgres")]
pub use blocking::{PostgresInbox, PostgresStore, PostgresWriter};
#[cfg(feature = "sqlite")]
pub use blocking::{SqliteInbox, SqliteStore, SqliteWriter};
pub use error::is_conflict;

/// Why a transaction with messages was not committed.
pub type TransactionError = outbox_core::TransactionError<diesel::result::Error>;
