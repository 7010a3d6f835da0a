//! Brokers of one test each, read by plain clients.

mod kafka;
mod nats;
mod rabbitmq;
mod redis;

use tokio::runtime::Runtime;

pub(crate) use kafka::Kafka;
pub(crate) use nats::{Nats, STREAM, SUBJECTS};
pub(crate) use rabbitmq::Rabbitmq;
pub(crate) use redis::Redis;

/// The topics that the writers write to.
pub(crate) const TOPICS: [&str; 3] = ["shop.orders", "shop.payments", "shop.stock"];

/// A message as a broker has it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Where a consumer that knows nothing of us finds it.
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) payload: Vec<u8>,
}

/// What tests do with a broker. Whoever makes one has made room for the topics.
pub(crate) trait Broker {
    fn name(&self) -> &'static str;

    /// What a relay is told.
    fn transport(&self) -> String;

    /// Whether all topics are one log, so that order can be seen across them.
    fn is_one_log(&self) -> bool {
        false
    }

    /// Rows to write between two kills.
    fn burst(&self) -> u64 {
        3_000
    }

    fn kill(&self);

    /// Starts it again after a kill, with what it had.
    fn restart(&self);

    /// How many messages it has.
    fn stored(&self) -> u64;

    /// Everything it has, each topic and key in its order.
    fn read_all(&self) -> Vec<Received>;
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
