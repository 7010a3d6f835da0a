//! outbox-nats
