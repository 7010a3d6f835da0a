//! Schema, migrations and statements of the outbox, per SQL dialect, as data.
//!
//! Nothing here talks to a database. [`SqlStore`] compiles what the relay asks for into [`Statement`]s and hands them
//! to a [`Driver`], which an adapter implements in a few dozen lines per ORM and database: the protocol (fence, lanes,
//! leases, parked keys) exists once, not once per ORM × database.

#![forbid(unsafe_code)]

mod driver;
mod statement;

pub use driver::{Driver, Row, Session, Step, TransactionResult};
pub use statement::{Statement, Value};
