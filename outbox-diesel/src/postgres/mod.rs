//! PostgreSQL.

mod backend;
