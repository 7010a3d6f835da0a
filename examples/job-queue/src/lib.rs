//! Jobs: a row and a message in one transaction, a list in Redis, and a runner.
//!
//! ```text
//!  jobs + outbox ──▶ relay ──▶ Redis list ──▶ runner ──▶ jobs + inbox
//! ```

#![forbid(unsafe_code)]

mod database;
mod job;
mod jobs;
mod relay;
mod runner;

pub use database::open;
pub use job::Resize;
pub use jobs::Jobs;
pub use relay::relay;
pub use runner::runner;

/// The code of the page is compiled like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/scenarios/job-queue.md")]
struct Page;
