//! outbox-conformance
