//! Publishes outbox messages to Apache Kafka, and counts a message as delivered only when the broker has confirmed it;
//! and receives them there as a member of a consumer group.
//!
//! ```no_run
//! # async fn example() -> Result<(), outbox_core::BrokerConfigError> {
//! use outbox_kafka::KafkaTransport;
//!
//! let transport = KafkaTransport::connect("kafka://app:secret@broker-1:9092,broker-2:9092?sasl=plain").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What goes where
//!
//! | message | Kafka |
//! |---|---|
//! | topic | topic: letters, digits, dots, underscores and hyphens; anything else is refused |
//! | ordering key | key of the record, and with it the partition, as Java clients compute it |
//! | id | header `ce_id` |
//! | event type, aggregate id | `ce_type`, `ce_subject` (CloudEvents, binary mode) |
//! | time | `ce_time`, and the record's own timestamp |
//! | aggregate type, schema version | `outbox-aggregate-type`, `outbox-schema-version` |
//! | correlation id, content type | `ce_correlationid`, `content-type` |
//! | headers, payload | unchanged |
//!
//! A consumer with a client of its own reads a record with [`decode`].
//!
//! # What zero loss takes
//!
//! Topics with a replication factor of 3, `min.insync.replicas=2` and `unclean.leader.election.enable=false`. The
//! producer is idempotent and waits for all replicas in sync (`acks=all`). Kafka does not write to disk before it
//! acknowledges: a power cut of all replicas at once loses what they had in memory.
//! [`diagnose`](outbox_core::Transport::diagnose) looks at all of this, topic by topic.
//!
//! A topic that is missing is an error that a later try can mend, and is never created by accident: that would be a
//! topic with one replica. `create=true` creates it as you say.
//!
//! # Order
//!
//! Many messages of a key may be under way at once, and if one of them fails, the broker has none of the later ones.
//! That takes three things:
//!
//! * Within a partition an idempotent producer keeps the order, also over retries and new leaders.
//! * A record that is refused for good would leave a gap, and the ones behind it would follow under new numbers. With
//!   librdkafka's gapless guarantee it ends the producer instead: what else was under way is unknown, is published again
//!   and may be there twice. With `gapless=false` the transport promises no order within a batch, the relay has one
//!   message of each key under way, and a refused record harms nobody.
//! * A time-out would leave a gap too, and no guarantee of librdkafka covers it. So a record never times out on its own:
//!   when a call reaches its deadline, the whole producer ends, with everything that it still holds.
//!
//! Messages of a key keep their order as long as the topic keeps its number of partitions, and every producer of it the
//! same `partitioner`. Exactly-once is not promised: a message whose confirmation was lost comes twice, and an inbox
//! drops it.
//!
//! # Receiving
//!
//! Kafka remembers one offset for each partition of a group. A message that was settled before an earlier one of its
//! partition stays in memory until that one is settled too; so after a crash, messages come again that were
//! acknowledged. An acknowledgement is committed within half a second. A message that is handed back is kept in
//! memory for its delay; while it waits, its partition's offset does not move. Up to 1,000 may wait so, then reading
//! stops. Deliveries are not counted.
//!
//! When a member comes or goes, partitions move between the members, and what a member has not settled of them comes
//! again, to another: its own receipt is `Stale` then. `redeliver_after` is the session time-out of the group, which
//! brokers want to be 6 seconds or more.
//!
//! # Encryption
//!
//! librdkafka knows only OpenSSL. The cargo feature `tls` links it, and needs its headers and `pkg-config` where it is
//! built (`apt install libssl-dev pkg-config`). It is also what `sasl=scram-sha-256` and `sasl=scram-sha-512` need.
//!
//! # Logs
//!
//! One line when the brokers are lost and one when they are back. librdkafka's own lines are at level `debug`, target
//! `librdkafka`.

#![forbid(unsafe_code)]

mod cluster;
mod config;

mod transport;

#[cfg(feature = "subscription")]
mod subscription;

mod batch;
mod codec;
#[doc(hidden)]
pub mod wire;

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

/// Re-exported because [`decode`] takes its messages.
pub use rdkafka;

/// Its name in error texts.
const BROKER: &str = "Kafka";
