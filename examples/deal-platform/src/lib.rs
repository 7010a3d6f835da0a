//! A platform for deals: closed in a transaction, published from the outbox, settled once. What of it runs in a process is
//! said by `OUTBOX_*` variables.
//!
//! ```text
//!  deals + outbox ──▶ relay ──▶ Redis stream ──▶ settlement: settlements + inbox
//!  quotes ─▶ publisher ┘
//! ```

#![forbid(unsafe_code)]

mod platform;
mod routes;

mod deals;
mod quotes;
mod settlement;

mod database;
mod events;

pub use deals::Deals;
pub use events::{DealClosed, QuoteMoved};
pub use platform::Platform;
pub use quotes::Quotes;
pub use routes::routes;

/// The code of the page is compiled like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/scenarios/deal-platform.md")]
struct Page;
