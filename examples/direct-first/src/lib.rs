//! Scans of parcels, published to Kafka at once, and by the outbox while Kafka is away.
//!
//! ```text
//!  gates ──▶ publisher ──────────────────────────▶ Kafka
//!                └─ Kafka is away ─▶ outbox ─▶ relay ─┘
//!                                  └─ Redis ─▶ (a hint)
//! ```

#![forbid(unsafe_code)]

mod scan;
mod service;

// A run that takes Kafka away, and its proof.
mod database;
mod kafka;
mod lanes;
mod reader;
mod report;
mod run;
mod scrape;

pub use database::Database;
pub use kafka::{Kafka, Outage};
pub use lanes::{Call, Lanes};
pub use reader::{Reader, Record};
pub use report::{Counted, Report};
pub use run::{Outcome, Run};
pub use scan::ParcelScanned;
pub use scrape::Scrape;
pub use service::start;

/// The code of the page is compiled like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/scenarios/direct-first.md")]
struct Page;
