//! The brokers, what is different about them as data, and what a plain client sees of them.

mod kafka;
mod nats;
mod rabbitmq;
mod redis;

use std::time::Duration;

use async_trait::async_trait;

pub(crate) use kafka::{PARTITIONS, kafka, kafka_at};
pub(crate) use nats::nats;
pub(crate) use rabbitmq::rabbitmq;
pub(crate) use redis::redis;

use crate::world::Member;

pub(crate) const TOPIC: &str = "orders.placed";

#[async_trait]
pub(crate) trait Broker: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// The URL of the transport.
    fn transport(&self) -> String;

    /// The URL of a member of the group, to which parameters can be added.
    fn subscription(&self) -> String;

    /// After how long something is delivered a second time whose consumer is gone or silent.
    fn redeliver_after(&self, member: Member) -> Duration {
        member.redeliver_after
    }

    /// Whether what a member has left comes again before anything that nobody was given yet.
    fn keeps_order_across_crashes(&self) -> bool;

    /// Everything that the group has given up.
    async fn dead_letters(&self) -> Vec<DeadLetter>;

    /// Removes what is left in a shared broker.
    async fn cleanup(&self) {}
}

/// A dead letter as a plain client of the broker sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeadLetter {
    pub(crate) id: String,
    pub(crate) reason: String,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}
