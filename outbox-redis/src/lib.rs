//! Publishes outbox messages to Redis, to streams or to lists, and receives them from there.
//!
//! ```no_run
//! # async fn example() -> Result<(), outbox_core::BrokerConfigError> {
//! use outbox_redis::{RedisSubscription, RedisTransport};
//!
//! let transport = RedisTransport::connect("redis://app:secret@localhost:6379/0").await?;
//! let jobs = RedisTransport::connect("redis://localhost:6379?mode=list&envelope=raw").await?;
//! let subscription =
//!     RedisSubscription::connect("redis://localhost:6379?group=billing&topics=orders.placed").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What goes where
//!
//! | message | stream (`mode=stream`, the default) | list (`mode=list`) |
//! |---|---|---|
//! | topic | key of the stream | key of the list, a queue of jobs: `LPUSH`, taken from the other end |
//! | payload | field `payload`, the last one | `data` if it is JSON, byte for byte; else `data_base64` |
//! | id, event type, aggregate id, time | `ce-id`, `ce-type`, `ce-subject`, `ce-time` | `id`, `type`, `subject`, `time` |
//! | ordering key | `outbox-key` | `partitionkey` |
//! | content type | `content-type` | `datacontenttype` |
//! | aggregate type, schema version, correlation id | `outbox-aggregate-type`, `outbox-schema-version`, `ce-correlationid` | `aggregatetype`, `schemaversion`, `correlationid` |
//! | headers | `header.<name>` | `outboxheaders`, a JSON object as text |
//!
//! The entry of a list is CloudEvents' JSON format. With `envelope=raw` a stream has the payload and the user's headers,
//! and the entry of a list is the payload and nothing else, as a job runner that exists already reads it.
//!
//! # What zero loss takes
//!
//! Redis answers before anything is on a disk, unless it is told otherwise: as installed, a server that is killed loses
//! everything since its last snapshot. `appendonly yes` makes it write each command; with `appendfsync everysec` a power
//! cut loses about a second, with `always` nothing. `maxmemory-policy` must be `noeviction`: the others drop what was
//! confirmed, without a word. Replication is asynchronous: a failover loses what the replica had not received, unless
//! `wait=N` makes each publish wait for N replicas (which makes the loss unlikely, not impossible).
//! [`RedisTransport::check`](outbox_core::Transport::check) warns about all of this, and with `strict=true` refuses to
//! publish.
//!
//! Several hosts in a URL are tried in their order, and the first that is a primary is used. A server that was demoted is
//! left by the next call. Redis Cluster is not supported.
//!
//! Redis knows no message ids: a second copy is not dropped. Consumers need an inbox. Nor does a server that refuses a
//! message refuse the later ones of the same call, so the relay has one message per ordering key under way.
//!
//! # Which Redis
//!
//! Publishing needs Redis 5 or later (6 with a user name), receiving 6.2. The user of a transport needs `XADD` or `LPUSH`
//! on the keys, and better also `INFO` and `ROLE`; `WAIT` for `wait=N`, `CONFIG|GET` to learn how large a value may be.
//! The user of a subscription needs `EVAL` and the commands of its type on the keys, on the dead letters and, for a list,
//! on `<topic>:processing:*`, `<topic>:members` and `<topic>:attempts`.

#![forbid(unsafe_code)]

mod config;
mod endpoint;

mod batch;
mod transport;

mod event;
mod fields;
#[doc(hidden)]
pub mod wire;

mod connection;
mod durability;
mod link;
mod tls;

mod diagnose;
mod error;

mod notifier;
mod wakeup;

#[cfg(feature = "subscription")]
mod subscription;

pub use config::{RedisConfig, RedisMode};
pub use event::decode_element;
pub use fields::decode_entry;
pub use notifier::RedisNotifier;
#[cfg(feature = "subscription")]
pub use subscription::{RedisSubscription, RedisSubscriptionConfig};
pub use transport::RedisTransport;
pub use wakeup::RedisWakeup;
