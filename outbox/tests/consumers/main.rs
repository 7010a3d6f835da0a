//! Consumers as processes of their own, on real brokers and a real database: killed, stopped and started again.
//!
//! A worker is this very program, started again for the ignored test `worker` alone. Its handler writes a row without
//! any key that would keep a second one out, and counts the rows, in the transaction of the inbox: an effect that
//! happens twice can be seen.
//!
//! Sizes can be changed: `OUTBOX_CONSUMER_KILLS` (times that a worker is killed on each broker, 10),
//! `OUTBOX_CONSUMER_STORM` (seconds of members that join and leave, 10), `OUTBOX_CONSUMER_STORM_MESSAGES` (3,000).

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod eventually;
mod figures;

mod brokers;
mod database;
mod order;
mod process;
mod worker;
mod world;

/// A test of a case on each broker, in a module of the case's name.
macro_rules! on_every_broker {
    ($case:ident) => {
        mod $case {
            on_every_broker!(@tests $case: rabbitmq, nats, redis, kafka);
        }
    };
    (@tests $case:ident: $($broker:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $broker() {
                crate::world::run(crate::brokers::$broker().await, super::$case).await;
            }
        )+
    };
}

mod kills;
mod misbehaviour;
mod rebalances;
mod shutdowns;
mod slow_handlers;
