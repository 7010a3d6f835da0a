#![doc = include_str!("docs/book.md")]
#![forbid(unsafe_code)]

mod connect_error;
mod store;
mod subscription;
mod transport;

mod scheme;
mod stdout;
#[cfg(all(feature = "config", feature = "sqlx-postgres"))]
mod wakeup;

#[cfg(feature = "config")]
mod config;
#[cfg(feature = "config")]
mod lifecycle;
#[cfg(feature = "http")]
pub mod observe;
#[cfg(feature = "memory")]
pub mod testing;

#[cfg(feature = "config")]
pub use config::{
    Config, ConfigError, ConfigOrigin, ConfigProfile, ConfigSources, ConfigWarning, DeliveryMode, Diagnosis,
    InboxConfig, MetricsConfig, RouteConfig, Setting, SettingValue, StoreConfig, TransportConfig,
    WakeupConfig,
};
pub use connect_error::ConnectError;
#[cfg(feature = "config")]
pub use lifecycle::{OutboxBuilder, OutboxHandle, OutboxWaker, RelayState, StartError};
pub use stdout::StdoutTransport;
pub use store::{Store, connect_store, connect_store_with_names};
pub use subscription::connect_subscription;
pub use transport::connect_transport;

/// The message, and the traits of stores, transports and writers.
pub use outbox_core::*;

/// RabbitMQ.
#[cfg(feature = "amqp")]
pub use outbox_amqp as amqp;
/// PostgreSQL, MySQL, MariaDB and SQLite by diesel and diesel-async.
#[cfg(any(
    feature = "diesel-postgres",
    feature = "diesel-mysql",
    feature = "diesel-sqlite",
    feature = "diesel-async-postgres",
    feature = "diesel-async-mysql",
    feature = "diesel-async-sqlite"
))]
pub use outbox_diesel as diesel;
/// Apache Kafka.
#[cfg(feature = "kafka")]
pub use outbox_kafka as kafka;
/// A store and a transport that live in the process.
#[cfg(feature = "memory")]
pub use outbox_memory as memory;
/// NATS JetStream.
#[cfg(feature = "nats")]
pub use outbox_nats as nats;
/// Redis streams and lists.
#[cfg(feature = "redis")]
pub use outbox_redis as redis;
/// The relay.
pub use outbox_relay as relay;
/// PostgreSQL, MySQL, MariaDB and SQLite by sea-orm.
#[cfg(any(
    feature = "seaorm-postgres",
    feature = "seaorm-mysql",
    feature = "seaorm-sqlite",
    feature = "seaorm-migration"
))]
pub use outbox_seaorm as seaorm;
/// Schema, migrations and names of the tables.
pub use outbox_sql as sql;
/// PostgreSQL, MySQL, MariaDB and SQLite by sqlx.
#[cfg(any(feature = "sqlx-postgres", feature = "sqlx-mysql", feature = "sqlx-sqlite"))]
pub use outbox_sqlx as sqlx;

/// The code in the README is compiled like any other.
#[cfg(all(doctest, feature = "nats", feature = "sqlx-postgres"))]
#[doc = include_str!("../../README.md")]
struct Readme;
