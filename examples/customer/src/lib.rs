//! The customer of the example services: what each of them promises is tried here, on the service as a process of its
//! own.
//!
//! The test of a service is a description of it:
//!
//! ```no_run
//! customer::visit(&customer::Shop {
//!     program: "target/debug/orders-axum",
//!     server: customer::POSTGRES,
//!     tables: "orders_axum.",
//!     content_type: "application/json",
//!     decode: customer::json,
//! });
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test states what it expects, and this crate is a test")]

mod visit;

mod database;
mod events;
mod service;

pub use database::{MARIADB, POSTGRES, Server};
pub use service::ask;
pub use visit::visit;

use std::time::Duration;

use serde::Deserialize;

/// How long the customer waits for anything.
const LIMIT: Duration = Duration::from_secs(30);

/// An example service, as far as its customer has to know it.
#[derive(Debug)]
pub struct Shop {
    /// The path of its binary.
    pub program: &'static str,
    /// Where its database is made.
    pub server: Server,
    /// What stands in front of the names of its tables: a schema with a dot, or a prefix.
    pub tables: &'static str,
    /// The content type of its events.
    pub content_type: &'static str,
    /// Reads the payload of an event.
    pub decode: fn(&[u8]) -> Order,
}

/// What the service answers, publishes, and keeps in its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The number that the database has given it.
    pub order: i64,
    /// Who has ordered.
    pub customer: String,
    /// The amount in cents.
    pub total: i64,
}

/// Reads an order that is written as JSON.
///
/// # Panics
///
/// If it is no order.
#[must_use]
pub fn json(payload: &[u8]) -> Order {
    serde_json::from_slice(payload).unwrap()
}
