//! Publishes outbox messages to NATS JetStream, and counts a message as delivered only when a stream has confirmed it;
//! and receives them there, in groups.
//!
//! ```no_run
//! # async fn example() -> Result<(), outbox_core::BrokerConfigError> {
//! use outbox_nats::NatsTransport;
//!
//! let transport = NatsTransport::connect(
//!     "nats://app:secret@localhost:4222?stream=ORDERS&create=true&subjects=orders.>",
//! )
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What goes where
//!
//! | message | JetStream |
//! |---|---|
//! | topic | subject |
//! | id | `Nats-Msg-Id`, by which the stream drops a second copy, and `ce-id` |
//! | ordering key | header `outbox-key` |
//! | event type, aggregate id, time | `ce-type`, `ce-subject`, `ce-time` (CloudEvents, binary mode) |
//! | aggregate type, schema version | `outbox-aggregate-type`, `outbox-schema-version` |
//! | correlation id, content type | `ce-correlationid`, `content-type` |
//! | headers, payload | unchanged |
//!
//! With `envelope=raw` there are `Nats-Msg-Id` and the user's headers, and nothing else.
//!
//! Every NATS client trims white space around a header's value. Where that would lose something, the header
//! `outbox-verbatim` has the exact values as a JSON object; [`decode`] puts them back.
//!
//! # What zero loss takes
//!
//! Streams with `storage=file`, three replicas, `discard=new` and no `no_ack`, on servers with `sync_interval: always`
//! if acknowledged messages must survive a power cut of all replicas at once: by default a server syncs its files every
//! two minutes, and a client can't see what it was told. [`NatsTransport::check`](outbox_core::Transport::check) looks at
//! the stream that the URL names, and warns about what can lose messages;
//! [`NatsTransport::diagnose`](outbox_core::Transport::diagnose) looks at the stream of each topic.
//!
//! # A stream without a leader
//!
//! While most replicas of a stream are away nobody answers for it, as if there were no such stream. The server is then
//! asked which stream takes the subject: if it names one or does not say, this is an outage of the broker, which uses no
//! attempt. Users need the permission to publish to `$JS.API.STREAM.NAMES` for that; without it such messages are retried
//! on schedule, as those without a stream are.
//!
//! # Encryption
//!
//! `tls://` or `tls=required` encrypts and verifies, with the certificates of `tls_ca` or those of the system; a server
//! that does not encrypt is refused before it hears a password. Users log in with a password, a token or a certificate;
//! credentials files (NKeys and JWT) are not supported, because they bring a second implementation of cryptography.
//!
#![cfg_attr(feature = "subscription", doc = include_str!("docs/groups.md"))]
#![forbid(unsafe_code)]

mod config;
mod endpoint;
mod tls;

mod transport;

#[cfg(feature = "subscription")]
mod subscription;

mod batch;
mod codec;
#[doc(hidden)]
pub mod wire;

mod connection;
mod link;
mod stream;
mod untaken;

mod diagnose;

mod error;

pub use codec::decode;
pub use config::NatsConfig;
#[cfg(feature = "subscription")]
pub use subscription::{NatsSubscription, NatsSubscriptionConfig};
pub use transport::NatsTransport;
