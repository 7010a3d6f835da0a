//! The stores and writers on diesel-async.

mod consumer;
mod dropped;
mod fixture;
mod inbox;
mod send;
mod transactions;
mod writer;

#[cfg(feature = "async-mysql")]
mod mysql;
#[cfg(feature = "async-postgres")]
mod postgres;
#[cfg(feature = "async-sqlite")]
mod sqlite;
