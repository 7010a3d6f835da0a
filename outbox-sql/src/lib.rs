//! Schema, migrations and statements of the outbox, per SQL dialect, as data.
//!
//! Nothing here talks to a database. [`SqlStore`] compiles what the relay asks for into [`Statement`]s and hands them
//! to a [`Driver`], which an adapter implements in a few dozen lines per ORM and database: the protocol (fence, lanes,
//! leases, parked keys) exists once, not once per ORM × database.

#![forbid(unsafe_code)]

mod dialect;
mod error_code;
mod names;
mod statement;

mod migrations;

mod inbox;
mod insert;
mod transaction;

mod driver;
mod store;

mod columns;
mod message_row;
mod rows;
mod vocabulary;

mod claim;
mod scope;

mod fence;
mod lists;
mod moves;
mod operator;
mod plan;
mod settle;

mod holds;
mod late_commits;
mod lease;

mod admin;

pub use dialect::Dialect;
pub use driver::{Cell, Driver, Row, Session, Step, TransactionResult};
pub use error_code::ErrorCode;
pub use inbox::{InboxExecutor, InboxStatements};
pub use insert::InsertStatements;
pub use message_row::{FRESH_COLUMNS, MESSAGE_COLUMNS, MessageRow, SetAside};
pub use migrations::{MigrationScript, Migrations};
pub use names::{NameError, Table, TableNames};
pub use statement::{Statement, Value};
pub use store::SqlStore;
pub use transaction::TransactionStatements;

// What the macro for an adapter's store names.
#[doc(hidden)]
pub use outbox_core::{ConsumerName, InboxAdmin, MessageId, StoreError};

#[cfg(test)]
mod recorded;
