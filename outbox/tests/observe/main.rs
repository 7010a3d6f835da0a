//! Metrics and health over HTTP, and the files that are made for them.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod client;
#[path = "../doubles/defective.rs"]
mod defective;
mod documents;
mod expression;
mod health;
mod metrics;
