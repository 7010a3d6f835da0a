//! Jobs, with a Redis of the test's own that is killed, and with handlers and relays that are stopped in the middle.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod doctor;
mod figures;
mod outage;
mod place;
