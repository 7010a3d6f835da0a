//! The stores and writers against real databases.

#![cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

#[cfg(feature = "postgres")]
mod debezium;
mod explain;
mod fixture;
mod inbox;
mod inbox_plans;
mod pages;
#[cfg(feature = "postgres")]
mod round_trips;
mod send;
mod transactions;
mod writer;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "postgres")]
mod wakeups;
