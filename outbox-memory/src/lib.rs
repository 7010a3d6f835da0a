//! outbox-memory
