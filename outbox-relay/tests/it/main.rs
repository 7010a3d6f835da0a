//! The relay against the memory store and a scripted broker, in paused time: hours of outages and retries in
//! milliseconds, the same every time.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test states what it expects")]

mod cadence;
mod consumer;
mod delivery;
mod faults;
mod gate;
mod harness;
mod interleavings;
mod late_commits;
mod ledger;
mod metrics;
mod monitor;
mod policies;
mod publisher;
mod simulation;
#[cfg(feature = "opentelemetry")]
mod spans;
mod traces;
