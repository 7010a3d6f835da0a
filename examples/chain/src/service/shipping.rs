//! Ships what is billed: sqlx with SQLite, reads RabbitMQ, publishes to RabbitMQ.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use outbox::sqlx::{SqliteInbox, SqliteStore, SqliteWriter};
use outbox::{Event, HandlerError, OutboxMessage, Processed, handler};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

use super::mishaps::{Mishaps, Observed};
use crate::events::{OrderBilled, OrderShipped};
use crate::run::Run;

pub(crate) const NAME: &str = "shipping";

/// The table, beside those of the outbox and the inbox. No key forbids to ship an order twice.
pub(crate) const TABLES: &str =
    "CREATE TABLE shipments (id INTEGER PRIMARY KEY AUTOINCREMENT, order_id INTEGER NOT NULL)";

struct Shipping {
    pool: SqlitePool,
    inbox: SqliteInbox,
    mishaps: Mishaps,
}

pub(crate) async fn connect(file: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    // SQLite has one writer at a time.
    SqlitePoolOptions::new().max_connections(1).connect_with(options).await
}

pub(crate) async fn run(run: &Run, mishaps: &Mishaps) -> Result<()> {
    let pool = connect(&run.shipping_file()).await?;
    let store = Arc::new(SqliteStore::new(&pool));

    let relay = super::relay(store.clone(), &run.publish_to_rabbitmq()).await?;
    let waker = relay.waker();
    let outbox = SqliteWriter::new().after_commit(move || waker.wake());
    let inbox = SqliteInbox::new(NAME)?.writing_to(outbox);

    let name = inbox.consumer().clone();
    let shipping = handler(Shipping { pool, inbox, mishaps: mishaps.clone() }, ship);
    let shipping = Observed::new(NAME, run, mishaps, shipping)?;
    let broker = run.read_rabbitmq(NAME, OrderBilled::TOPIC);
    let consumer = super::consumer(&name, &broker, 1, shipping, store).await?;

    super::stop().await;
    consumer.shutdown().await?;
    relay.shutdown().await?;
    Ok(())
}

/// The shipment, its event and the memory of the message: all or nothing.
async fn ship(shipping: &Shipping, message: &OutboxMessage) -> Result<Processed, HandlerError> {
    let OrderBilled { order, .. } = message.decode()?;
    shipping
        .inbox
        .process(&shipping.pool, message, async |tx| {
            sqlx::query("INSERT INTO shipments (order_id) VALUES (?)").bind(order).execute(&mut **tx).await?;
            tx.emit(&OrderShipped { order })?;
            shipping.mishaps.maybe_fail()
        })
        .await
}
