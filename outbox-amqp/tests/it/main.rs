//! The transport and the subscription against real brokers: the shared one, and private ones that are killed.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod fixture;
mod rabbitmq;
mod subscriptions;

mod transport {
    outbox_conformance::transport_suite!(crate::fixture::AmqpFixture);
}

mod subscription {
    outbox_conformance::subscription_suite!(crate::subscriptions::AmqpFixture);
}
