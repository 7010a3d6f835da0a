//! The configuration-driven relay against a real server.

#[cfg(all(feature = "config", feature = "memory", feature = "sqlx-postgres"))]
mod postgres;
