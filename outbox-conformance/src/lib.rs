//! The suites that every store and every transport must pass.
//!
//! An adapter says in a fixture how to make an empty outbox and how to write to it; the rest of its test file is one line:
//!
//! ```ignore
//! mod postgres {
//!     outbox_conformance::store_suite!(crate::PostgresFixture);
//! }
//! ```
//!
//! The line becomes one named test per case. Databases and brokers differ by their capabilities only; no case knows a
//! name.

#![forbid(unsafe_code)]

mod fixture;
pub mod store_suite;
pub mod transport_suite;

pub use fixture::{FixtureTransaction, RawRow, StoreFixture, run_case, started};
