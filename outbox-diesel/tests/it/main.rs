//! The stores and writers against real databases.

#![allow(clippy::unwrap_used)]

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod consumer;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod fixture;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod inbox;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod scope;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod send;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod transactions;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
mod writer;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(any(feature = "async-postgres", feature = "async-mysql", feature = "async-sqlite"))]
mod asynchronous;
