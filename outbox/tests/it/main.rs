//! The outbox of an application, by configuration; and what the README says.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

#[cfg(all(feature = "config", feature = "memory"))]
mod lifecycle;
#[cfg(all(feature = "config", feature = "memory", feature = "sqlx-postgres"))]
mod postgres;
#[cfg(all(
    feature = "memory",
    feature = "nats",
    feature = "sqlx-postgres",
    feature = "sqlx-mysql",
    feature = "sqlx-sqlite"
))]
mod readme;
