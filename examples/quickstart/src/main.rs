//! Ten thousand orders through an outbox in SQLite, to a broker in this process that fails now and then.
//!
//! Each order and its event are written in one transaction. A tenth of the transactions roll back, some are tried again
//! by the business code. The relay delivers meanwhile. At the end the deliveries are compared with the table of orders.

#![forbid(unsafe_code)]

mod broker;
mod report;
mod shop;

use std::time::Duration;

use anyhow::Result;
use outbox::OutboxAdmin;
use outbox::relay::{Relay, RetryPolicy};
use outbox::sqlx::SqliteStore;

use crate::report::Report;
use crate::shop::{Placed, Shop};

const ORDERS: u32 = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut shop = Shop::open(&folder.path().join("shop.db")).await?;

    // The tables of the outbox, in the database of the shop. In production: `outbox migrate`.
    let store = SqliteStore::new(shop.pool());
    store.migrate().await?;

    // The relay reads the outbox and publishes. It runs here, or in a process of its own: `outbox relay`.
    let broker = broker::unreliable();
    let mut retry = RetryPolicy::default();
    // The default waits for 5 s, 15 s, 1 min …: right for a broker in trouble, long for an example.
    retry.schedule = [10, 50, 250].map(Duration::from_millis).to_vec();
    let relay = Relay::new(store, broker.clone()).retry(retry).start().await?;

    let mut rolled_back = 0;
    for number in 0..ORDERS {
        if shop.place_order(number).await? == Placed::Refused {
            rolled_back += 1;
        }
        // A relay in the same process can be woken after a commit (`relay.waker().wake()`), and delivers a millisecond
        // later. With thousands of commits a second there is nothing to wake: it reads on as long as it finds something.
    }

    // Everything that was committed is delivered, however often that has to be tried.
    tokio::time::timeout(Duration::from_secs(60), relay.drained()).await??;
    relay.shutdown().await?;

    let report = Report::compare(shop.pool(), &broker.delivered()).await?;
    report.print(rolled_back)?;
    report.verdict()
}
