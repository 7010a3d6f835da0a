//! Publishes outbox messages to Redis streams and lists, and receives them from there.

#![forbid(unsafe_code)]
