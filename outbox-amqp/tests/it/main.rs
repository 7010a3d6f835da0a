//! The transport and the subscription against real brokers: the shared one, and private ones that are killed.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod cases;
mod fixture;
#[cfg(feature = "subscription")]
mod subscriptions;

mod alarms;
mod closing;
#[cfg(feature = "subscription")]
mod dead_letters;
mod encryption;
mod hosts;
mod rabbitmq;
mod refusals;
mod returns;

mod transport {
    outbox_conformance::transport_suite!(crate::fixture::AmqpFixture);
}

#[cfg(feature = "subscription")]
mod subscription {
    outbox_conformance::subscription_suite!(crate::subscriptions::AmqpFixture);
}
