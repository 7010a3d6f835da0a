//! The configuration-driven relay against a real server.

#[cfg(all(feature = "config", feature = "memory", feature = "sqlx-postgres"))]
mod postgres;
#[cfg(all(
    feature = "memory",
    feature = "nats",
    feature = "sqlx-postgres",
    feature = "sqlx-mysql",
    feature = "sqlx-sqlite"
))]
mod readme;
