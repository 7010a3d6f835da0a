//! The binary `outbox`, run as a shell runs it: a SQLite file, exit codes, what it prints and what it must not print.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod shell;

mod bad_input;
mod configuration;
mod dead;
mod doctor;
mod inbox;
mod observe;
mod pages;
mod relay;
mod schema;
mod status;
