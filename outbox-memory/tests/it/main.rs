//! The memory store and the memory transport pass the suites that every store and every transport must pass, and what
//! they offer to tests beyond that does what it says.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod store;
mod store_script;
mod transport;
mod transport_script;
