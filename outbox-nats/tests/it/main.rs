//! The transport against real servers: the shared one, and private ones that are killed.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod consumers;
mod fixture;
mod jetstream;
mod subscriber;
mod tls;

outbox_conformance::transport_suite!(crate::fixture::NatsFixture);

mod subscription {
    outbox_conformance::subscription_suite!(crate::subscriber::SubscriberFixture);
}
