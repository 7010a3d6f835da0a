//! The stores, the writer, the transactions, the inbox and the migration against real databases.

#![cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

mod fixture;
mod inbox;
#[cfg(feature = "postgres")]
mod log;
mod origin;
mod send;
mod transactions;
mod writer;

#[cfg(feature = "migration")]
mod migration;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "mysql")]
mod sessions;
#[cfg(feature = "sqlite")]
mod sqlite;
