//! Publishes outbox messages to RabbitMQ (AMQP 0-9-1), and receives them from there.

#![forbid(unsafe_code)]
