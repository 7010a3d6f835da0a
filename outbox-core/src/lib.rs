//! The contracts of the outbox: the message, and the traits that stores, transports and writers implement.
//!
//! This crate knows no database, no broker and no runtime. Everything that does is an adapter:
//!
//! ```text
//!  your transaction ──▶ OutboxWriter ──▶ outbox table ──▶ OutboxStore ──▶ relay ──▶ Transport ──▶ broker
//!                                                                                                │
//!  your transaction ◀── your handler ◀── InboxStore::admit ◀── consumer ◀── Subscription ◀───────┘
//! ```
//!
//! # A message
//!
//! ```
//! use outbox_core::OutboxMessage;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let message = OutboxMessage::json("orders.placed", &serde_json::json!({ "order": 7, "total": 1290 }))?
//!     .ordering_key("order-7")
//!     .header("tenant", "acme")
//!     .build()?;
//! assert_eq!(message.topic().as_str(), "orders.placed");
//! # Ok(())
//! # }
//! ```
//!
//! Every limit is checked by [`MessageBuilder::build`], before any SQL: a row that can never be published is
//! refused where the caller can still do something about it.

#![forbid(unsafe_code)]

mod headers;
mod id;
mod limits;
mod message;
mod message_error;
mod ordering_key;
mod topic;

mod commit_hint;
mod event;
mod transaction;
mod writer;

mod admin;
mod lease;
mod outcome;
mod row;
mod shard;
mod store;
mod store_error;

mod publish_error;
mod transport;
mod wakeup;

mod envelope;
mod subscribe_error;
mod subscription;

mod broker_url;
mod finding;

mod handler;
mod inbox;

#[cfg(outbox_sabotage)]
#[doc(hidden)]
pub mod sabotage;

pub use admin::{
    DeadLetter, DeadLetterQuery, Migration, OperatorAction, OutboxAdmin, OutboxStats, RelayInfo, SchemaDrift,
    ShardInfo,
};
pub use broker_url::{BrokerConfigError, BrokerHost, BrokerUrl, Secret, TlsConfig, UrlParameter};
pub use commit_hint::{CommitHint, CommitHints};
pub use envelope::{
    AGGREGATE_TYPE_HEADER, DEAD_GROUP_HEADER, DEAD_REASON_HEADER, DEAD_TOPIC_HEADER, DecodeError, Envelope,
    EnvelopeMode, EnvelopeNames, HeaderName, Incoming, KEY_HEADER, SCHEMA_VERSION_HEADER, dead_reason,
};
pub use event::{Event, EventCodec, EventDecoder, EventError, Json};
pub use finding::{Finding, Severity};
pub use handler::{
    AsError, HandlerError, HandlerErrorKind, HandlerWork, MessageHandler, StatefulHandler, handler,
};
pub use headers::{Headers, RESERVED_HEADER_PREFIXES, is_reserved_header};
pub use id::MessageId;
pub use inbox::{Admission, BlockingInboxStore, ConsumerName, InboxAdmin, InboxStore, Processed};
pub use lease::{Lease, LeaseRequest, LeasedShard};
pub use limits::Limits;
pub use message::{MessageBuilder, OutboxMessage, StoredParts};
pub use message_error::MessageError;
pub use ordering_key::OrderingKey;
pub use outcome::{DeadReason, Outcome};
pub use publish_error::{PublishError, PublishErrorKind};
pub use row::{Lane, RowId, Seq, StoredMessage};
pub use shard::{Epoch, Fence, RelayId, ShardId, ShardSet};
pub use store::{
    Claim, ClaimRequest, ClaimSource, DuePosition, HoldState, KeyHold, LateCommitMark, OperatorRequest,
    OutboxStore, Scope, Settled, StoreCapabilities,
};
pub use store_error::{BoxError, StoreError, StoreErrorKind};
pub use subscribe_error::{SubscribeError, SubscribeErrorKind};
pub use subscription::{
    Delivery, DeliverySource, Receipt, SubscribeOptions, Subscription, SubscriptionCapabilities, Undecodable,
};
pub use topic::{Topic, TopicFilter, TopicPattern};
pub use transaction::{AsyncWork, Isolation, TransactionError, TransactionPolicy};
pub use transport::{Transport, TransportCapabilities};
pub use wakeup::Wakeup;
pub use writer::{BlockingOutboxWriter, OutboxWriter};

/// Re-exported because it is part of the public interface: payloads are [`bytes::Bytes`].
pub use bytes;
