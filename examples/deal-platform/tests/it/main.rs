//! The platform as a process, with other variables each time: what it does follows them.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]
#![cfg(unix)]

mod deals;
mod place;
mod process;
mod switches;
