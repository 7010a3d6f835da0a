//! The relay: delivers what is in an outbox, from any [`outbox_core::OutboxStore`] to any [`outbox_core::Transport`].
//!
//! * **At least once.** A row is deleted after the broker confirmed it, never before.
//! * **In order.** Messages with the same key are first delivered in the order of their rows, each only after the one
//!   before it is confirmed.
//! * **Several relays** share the shards by leases in the database. A relay that lost its lease can't settle anything.
//! * **An outage is not a failure.** While a broker is away nothing is tried, deferred or given up.
//!
//! See [`Relay`] to start one, and [`RelayConfig`] for every setting. [`Publisher`] is for messages that belong to no
//! transaction: it stores them, or publishes them at once.

#![forbid(unsafe_code)]

mod config;
mod consumer;
mod error;
mod handle;
pub mod metrics;
mod monitor;
mod policy;
mod publisher;
mod relay;
mod stats;
pub mod trace;
mod waker;

mod bell;
mod breaker;
mod decide;
mod destination;
mod health;
mod leases;
mod poller;
mod store_call;

pub use breaker::BreakerState;
pub use config::{ConfigError, PollConfig, RelayConfig};
pub use consumer::{
    Consumer, ConsumerConfig, ConsumerError, ConsumerHandle, ConsumerStats, OldMessages, Order, Router,
    UnknownType, purge_inbox,
};
pub use decide::{Attempt, Situation, Transition, decide};
pub use error::RelayError;
pub use handle::{RelayHandle, drained};
pub use health::Trouble;
pub use monitor::{DestinationStatus, LeaseStatus, RelayMonitor, RelayStatus};
pub use policy::{OnDead, RetryPolicy, TopicPolicies};
pub use publisher::{
    MessageSink, PublishPath, Publisher, PublisherBuilder, PublisherConfig, PublisherConfigError,
    PublisherError, PublisherStats, SinkError, StatefulSink, sink,
};
pub use relay::Relay;
pub use stats::RelayStats;
pub use waker::Waker;
