//! Publishes outbox messages to Apache Kafka, and receives them from there.

#![forbid(unsafe_code)]
