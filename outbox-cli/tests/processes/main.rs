//! The binary `outbox` from outside: its own processes, writers and readers that are not ours, and servers that die.
//!
//! Nothing in here uses the library. Rows are written by `psql`, `mariadb` and `sqlite3`, messages are read by plain
//! clients, and what was committed is known from a table that the writers fill in the same transactions.
//!
//! Sizes can be raised: `OUTBOX_E2E_ROWS` (rows of the foreign writers, 50,000), `OUTBOX_E2E_SNAPSHOT_ROWS` (rows that
//! flow past a held snapshot, 200,000), `OUTBOX_E2E_OUTAGE` (seconds without a broker, 20), `OUTBOX_E2E_KILLS`
//! (times that each broker is killed, 5).

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod eventually;
mod figures;

mod brokers;
mod databases;
mod outbox;
mod proxy;

mod checker;
mod writers;

mod bad_input;
mod broker_kills;
mod broker_outage;
mod drain_cost;
mod every_broker;
mod foreign_writers;
mod held_snapshot;
mod idle;
mod plan_trap;
mod refused_messages;
mod routes;
mod status;
mod take_over;
