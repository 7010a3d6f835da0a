//! The memory store and the memory transport and its subscription pass the suites that every store, transport and
//! subscription must pass, and what they offer beyond that does what it says.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod drained;
mod engine;
mod store;
mod store_script;
mod subscription;
mod transport;
mod transport_script;
mod tries;
