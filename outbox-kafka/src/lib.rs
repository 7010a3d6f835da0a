//! Publishes outbox messages to Apache Kafka, and receives them from there.
//!
//! ```no_run
//! # async fn example() -> Result<(), outbox_core::BrokerConfigError> {
//! use outbox_kafka::KafkaTransport;
//!
//! let transport = KafkaTransport::connect("kafka://localhost:9092").await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod cluster;
mod config;

mod transport;

#[cfg(feature = "subscription")]
mod subscription;

mod batch;
mod codec;

mod call;
mod link;
mod producer;
mod standing;
mod topics;

mod diagnose;
mod error;
mod health;

pub use cluster::Sasl;
pub use codec::decode;
pub use config::KafkaConfig;
#[cfg(feature = "subscription")]
pub use subscription::{KafkaSubscription, KafkaSubscriptionConfig};
pub use transport::KafkaTransport;

/// Its name in error texts.
const BROKER: &str = "Kafka";
