//! The transport and the subscription against real brokers: the shared one, private ones that are killed, and
//! librdkafka's own mock cluster, which injects errors.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod broker;
mod fixture;
mod mock;
#[cfg(feature = "subscription")]
mod subscription;
mod topics;

outbox_conformance::transport_suite!(crate::fixture::KafkaFixture);

#[cfg(feature = "subscription")]
mod receiving {
    outbox_conformance::subscription_suite!(crate::subscription::KafkaReader);
}
