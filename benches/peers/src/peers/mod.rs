//! Ours and the others, a file each.

mod backbone;
mod graphile;
mod hexeract;
mod ours;
mod oxide;
mod pgmq;

use anyhow::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::broker::Broker;
use crate::database::Database;
use crate::worker::Worker;

pub(crate) use self::backbone::Backbone;
pub(crate) use self::graphile::Graphile;
pub(crate) use self::hexeract::Hexeract;
pub(crate) use self::ours::Ours;
pub(crate) use self::oxide::Oxide;
pub(crate) use self::pgmq::Pgmq;

/// Messages per batch, for those who let one choose.
const BATCH: u16 = 1_000;

/// The topic, the event type or the queue.
const TOPIC: &str = "orders";

/// What a message says: about 200 bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OrderPlaced {
    pub(crate) order: u32,
    note: String,
}

/// The same of row `n`, by the database.
const PAYLOAD: &str = "jsonb_build_object('order', n, 'note', repeat(md5(n::text), 5))";

impl OrderPlaced {
    pub(crate) fn new(order: u32) -> Self {
        Self { order, note: "0123456789abcdef".repeat(10) }
    }
}

/// Who takes part.
#[async_trait]
pub(crate) trait Peer: Sync {
    /// With its version, and with how it was set up where that is not its default.
    fn name(&self) -> &'static str;

    /// Makes its tables.
    async fn create(&self, database: &Database) -> Result<()>;

    /// A statement that writes so many messages.
    fn fill(&self, messages: u32) -> String;

    /// A query for the number of those that are not settled.
    fn left(&self) -> &'static str;

    /// Starts a worker that hands everything over to the broker.
    async fn start(&self, database: &Database, broker: Broker) -> Result<Worker>;

    /// One of several writers.
    async fn writer(&self, database: &Database) -> Result<Box<dyn Writer>>;
}

/// A connection that writes messages as its author says one should.
#[async_trait]
pub(crate) trait Writer: Send {
    /// One message in a transaction of its own, up to the end of the commit.
    async fn write(&mut self, event: OrderPlaced) -> Result<()>;
}
