//! Publishes outbox messages to RabbitMQ by AMQP 0-9-1, and receives them from there.
//!
//! ```no_run
//! # async fn example() -> Result<(), outbox_core::BrokerConfigError> {
//! use outbox_amqp::{AmqpSubscription, AmqpTransport};
//!
//! let transport = AmqpTransport::connect("amqp://app:secret@localhost:5672/shop?exchange=events").await?;
//! let subscription = AmqpSubscription::connect(
//!     "amqp://localhost/shop?exchange=events&group=billing&topics=orders.placed&create=true",
//! )
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What goes where
//!
//! | message | AMQP |
//! |---|---|
//! | topic | routing key, to the `exchange` of the URL; without one to the default exchange, which means to the queue of that name |
//! | id | property `message_id`, and header `cloudEvents_id` |
//! | ordering key | header `outbox-key` |
//! | event type, aggregate id, time | `cloudEvents_type` and property `type`, `cloudEvents_subject`, `cloudEvents_time` |
//! | aggregate type, schema version | headers `outbox-aggregate-type`, `outbox-schema-version` |
//! | correlation id, content type | `cloudEvents_correlationid`, property `content_type` |
//! | headers, payload | unchanged; headers as long strings |
//!
//! # What zero loss takes
//!
//! Every message is persistent, `mandatory` and confirmed. It survives in a durable queue: a quorum queue in a cluster.
//! A queue with a length limit must have `overflow=reject-publish`; the default drops the oldest messages, read or not.
//! Messages that no queue takes are returned by the broker and are not delivered: see
//! [`AmqpConfig::unroutable`].
//!
//! Several messages are under way at a time, in windows: a window is settled only when all of its confirmations are in,
//! and returned messages are told apart by their id. (The client hands a returned message to whichever confirmation comes
//! next, so one alone says nothing.)
//!
//! When the broker closes the channel for the sake of one message of a window, which it finds too large
//! (`max_message_size`) or whose topic this user may not write to, the messages without an answer are published again one
//! at a time, so that only this one fails. Some of them arrive twice.
//!
//! While the broker has an alarm of its memory or disk, nothing is sent to it. It tells so only when it is sent a
//! message; therefore a connection that is new, or was silent for five seconds, is asked first: by a message to the
//! default exchange that no queue can take, and that comes back. A user who may not write to the default exchange gets
//! the same answer by an error, which the broker logs once for each connection.
//!
//! Headers named `CC` and `BCC` are refused: RabbitMQ would send copies to where they say.
//!
//! RabbitMQ drops no second copies. Consumers need an inbox.
//!
//! # Logs
//!
//! The client logs each message that came back, with headers and payload, as a warning of the target
//! `lapin::returned_messages`. These warnings are left out where the program has a global subscriber of `tracing` before
//! it connects. A program that has `tracing` write to `log` instead must filter this target by itself. At the level of
//! `TRACE` the client logs all that it sends and gets.

#![forbid(unsafe_code)]

mod config;
mod endpoint;

mod transport;

mod codec;
mod publisher;
mod window;
#[doc(hidden)]
pub mod wire;

mod connection;
mod link;
mod probe;
mod quiet;
mod tls;
mod topology;

mod diagnose;
mod error;

#[cfg(feature = "subscription")]
mod subscription;

pub use codec::decode;
pub use config::{AmqpConfig, QueueType, Unroutable};

#[cfg(feature = "subscription")]
pub use subscription::{AmqpSubscription, AmqpSubscriptionConfig};
pub use transport::AmqpTransport;
