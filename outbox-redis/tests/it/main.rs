//! The transport and the subscription against real servers: the shared one, and private ones that are killed.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod consumers;
mod fixture;
mod server;
mod subscriptions;
mod wakeup;

mod stream {
    mod transport {
        outbox_conformance::transport_suite!(crate::fixture::Fixture<crate::fixture::Streams>);
    }
    mod subscription {
        outbox_conformance::subscription_suite!(crate::fixture::Fixture<crate::fixture::Streams>);
    }
}

mod list {
    mod transport {
        outbox_conformance::transport_suite!(crate::fixture::Fixture<crate::fixture::Lists>);
    }
    mod subscription {
        outbox_conformance::subscription_suite!(crate::fixture::Fixture<crate::fixture::Lists>);
    }
}
