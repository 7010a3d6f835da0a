//! The databases: a server of a campaign's own, a fresh database for each run, and what is read of it in the end.

#[macro_use]
pub(crate) mod client;
mod mariadb;
mod postgres;
pub(crate) mod server;
mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::actors::{ConsumerSettings, ProducerSettings};
use crate::check::history::{Dead, Effect, Entry};

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoreKind {
    Postgres,
    Mariadb,
    Sqlite,
}

impl StoreKind {
    /// Whether it is a process that can be killed, and reached by a network.
    pub(crate) const fn is_a_server(self) -> bool {
        !matches!(self, Self::Sqlite)
    }

    /// What it takes on this machine in a second, with all that goes on beside it.
    pub(crate) const fn transactions_per_second(self) -> u32 {
        match self {
            Self::Postgres | Self::Mariadb => 200,
            Self::Sqlite => 50,
        }
    }

    /// Starts it.
    pub(crate) async fn start(self) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Self::Postgres => Arc::new(postgres::Postgres::start().await?),
            Self::Mariadb => Arc::new(mariadb::Mariadb::start().await?),
            Self::Sqlite => Arc::new(sqlite::Sqlite::new()?),
        })
    }

    /// Writes until it is killed.
    pub(crate) async fn produce(self, settings: ProducerSettings) -> Result<()> {
        match self {
            Self::Postgres => postgres::produce(settings).await,
            Self::Mariadb => mariadb::produce(settings).await,
            Self::Sqlite => sqlite::produce(settings).await,
        }
    }

    /// Consumes until it is told to end, or killed.
    pub(crate) async fn consume(self, settings: ConsumerSettings) -> Result<()> {
        match self {
            Self::Postgres => postgres::consume(settings).await,
            Self::Mariadb => mariadb::consume(settings).await,
            Self::Sqlite => sqlite::consume(settings).await,
        }
    }
}

/// Who connects to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// One of the relays. Where the database knows users, each relay is one of its own.
    Relay(usize),
    Producer,
    Consumer,
}

/// How far everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Messages that wait in the outbox.
    pub(crate) waiting: i64,
    /// Messages that had an effect; one that had two counts once.
    pub(crate) effects: i64,
}

/// What a database has in the end.
pub(crate) struct Records {
    /// What was committed, in the words of the transactions themselves.
    pub(crate) audit: Vec<Entry>,
    /// The effects of the consumers.
    pub(crate) effects: Vec<Effect>,
    /// What the relays have given up.
    pub(crate) dead: Vec<Dead>,
}

#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Where its server listens, if it is one.
    fn port(&self) -> Option<u16>;

    /// Its URL for a client, at a port: that of the server, or of what stands before it.
    fn url(&self, client: Client, port: u16) -> String;

    /// A fresh database, with the tables of the outbox and of the harness.
    async fn reset(&self) -> Result<()>;

    /// Kills the server, if it is one.
    async fn kill(&self) -> Result<()>;

    /// Stops it in order.
    async fn stop(&self) -> Result<()>;

    /// Starts it again.
    async fn start(&self) -> Result<()>;

    /// How far everything is.
    async fn progress(&self) -> Result<Progress>;

    /// What there is in the end.
    async fn records(&self) -> Result<Records>;

    /// Rows that a relay took out of the outbox though their shard was another's; `None` where nobody watches.
    async fn stolen(&self) -> Result<Option<i64>> {
        Ok(None)
    }

    /// What is known of producers that waited for a lock of a relay; `None` if there were none, or nobody watches.
    async fn held_up(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// What its server logged, for a counter-example.
    fn log(&self) -> Option<PathBuf> {
        None
    }
}
