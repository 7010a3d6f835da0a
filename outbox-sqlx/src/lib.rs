//! outbox-sqlx
