//! Takes orders, and tells their customers how far they are: sqlx with PostgreSQL, publishes to NATS.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use outbox::relay::{Router, Waker};
use outbox::sqlx::{PostgresInbox, PostgresStore, PostgresWriter};
use outbox::{Event, HandlerError, OutboxMessage, Processed, handler};
use sqlx::{PgConnection, PgPool};

use super::mishaps::{Mishaps, Observed};
use crate::events::{OrderBilled, OrderPlaced, OrderShipped};
use crate::run::Run;

pub(crate) const NAME: &str = "orders";

/// What she orders can't be billed, however often it is tried.
pub(crate) const BROKE: &str = "mallory";

/// The process of orders
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Orders {
    #[command(flatten)]
    pub(crate) mishaps: Mishaps,
    /// Orders in a second
    #[arg(long, default_value_t = 25)]
    pub(crate) rate: u32,
    /// As many in all
    #[arg(long)]
    pub(crate) count: Option<i64>,
    /// Until then, in milliseconds since 1970
    #[arg(long)]
    pub(crate) until: Option<u64>,
}

/// The tables, beside those of the outbox and the inbox.
pub(crate) const TABLES: &str = "
    CREATE TABLE orders (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, total bigint NOT NULL
    );
    -- What has happened to an order, in the order in which it was learned. No key forbids to learn something twice.
    CREATE TABLE history (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL, event text NOT NULL
    );
    CREATE INDEX history_of_order ON history (order_id);
    -- Shipments that were learned before the bill.
    CREATE TABLE early_shipments (order_id bigint NOT NULL);
    CREATE INDEX early_shipments_of_order ON early_shipments (order_id)";

struct Shop {
    pool: PgPool,
    outbox: PostgresWriter,
    relay: Waker,
    inbox: PostgresInbox,
    topic: String,
    mishaps: Mishaps,
}

pub(crate) async fn run(run: &Run, orders: &Orders) -> Result<()> {
    let pool = PgPool::connect(&run.database(NAME)?).await?;
    let store = Arc::new(PostgresStore::new(&pool));

    let relay = super::relay(store.clone(), &run.publish_to_nats()).await?;
    let shop = Arc::new(Shop {
        pool,
        outbox: PostgresWriter::new(),
        relay: relay.waker(),
        inbox: PostgresInbox::new(NAME)?,
        topic: run.placed(),
        mishaps: orders.mishaps.clone(),
    });

    // Both events come by one queue, and those of an order are handled one after the other.
    let router = Router::new()
        .on::<OrderBilled>(handler(Arc::clone(&shop), learn_of_bill))
        .on::<OrderShipped>(handler(Arc::clone(&shop), learn_of_shipment));
    let topics = [OrderBilled::TOPIC, OrderShipped::TOPIC].join(",");
    let router = Observed::new(NAME, run, &orders.mishaps, router)?;
    let broker = run.read_rabbitmq(NAME, &topics);
    let consumer = super::consumer(shop.inbox.consumer(), &broker, 16, router, store).await?;

    tokio::select! {
        placed = take_orders(&shop, orders) => placed?,
        () = super::stop() => {}
    }
    consumer.shutdown().await?;
    relay.shutdown().await?;
    Ok(())
}

/// The customers.
async fn take_orders(shop: &Shop, orders: &Orders) -> Result<()> {
    let mut number: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&shop.pool).await?;
    let until = orders.until.map(|until| SystemTime::UNIX_EPOCH + Duration::from_millis(until));
    let mut tick = tokio::time::interval(Duration::from_secs(1) / orders.rate.max(1));
    while orders.count.is_none_or(|count| number < count)
        && until.is_none_or(|until| SystemTime::now() < until)
    {
        tick.tick().await;
        let customer = match number {
            6 => BROKE,
            number if number % 2 == 0 => "ada",
            _ => "grace",
        };
        shop.place(customer, 100 + number % 900).await?;
        number += 1;
    }
    // Nobody orders any more, and the service goes on.
    std::future::pending().await
}

impl Shop {
    /// The order and its event, both or neither. On an early return `tx` is dropped, which rolls back.
    async fn place(&self, customer: &str, total: i64) -> Result<()> {
        let mut tx = self.pool.begin().await?;
        let order = sqlx::query_scalar("INSERT INTO orders (customer, total) VALUES ($1, $2) RETURNING id")
            .bind(customer)
            .bind(total)
            .fetch_one(&mut *tx)
            .await?;
        record(&mut tx, order, "placed").await?;
        let placed = OrderPlaced { order, customer: customer.to_owned(), total };
        // With a topic that is the same in each run: `self.outbox.emit(&mut tx, &placed).await?`.
        let placed = OutboxMessage::json(&self.topic, &placed)?
            .event_type("OrderPlaced")
            .ordering_key(order)
            .build()?;
        self.outbox.enqueue(&mut tx, &placed).await?;
        tx.commit().await?;
        self.relay.wake();
        Ok(())
    }
}

/// The bill comes from billing and the shipment from shipping. What comes from two services has no order, even if one is
/// the cause of the other, so a shipment may be learned of first; it waits in a table then.
async fn learn_of_bill(shop: &Arc<Shop>, message: &OutboxMessage) -> Result<Processed, HandlerError> {
    let OrderBilled { order, .. } = message.decode()?;
    shop.inbox
        .process(&shop.pool, message, async |tx| {
            lock(tx, order).await?;
            record(tx, order, "billed").await?;
            for _ in 0..count(tx, EARLY, order).await? {
                record(tx, order, "shipped").await?;
            }
            shop.mishaps.maybe_fail()
        })
        .await
}

async fn learn_of_shipment(shop: &Arc<Shop>, message: &OutboxMessage) -> Result<Processed, HandlerError> {
    let OrderShipped { order } = message.decode()?;
    shop.inbox
        .process(&shop.pool, message, async |tx| {
            lock(tx, order).await?;
            if count(tx, BILLED, order).await? > 0 {
                record(tx, order, "shipped").await?;
            } else {
                let early = sqlx::query("INSERT INTO early_shipments (order_id) VALUES ($1)");
                early.bind(order).execute(&mut **tx).await?;
            }
            shop.mishaps.maybe_fail()
        })
        .await
}

const EARLY: &str = "SELECT count(*) FROM early_shipments WHERE order_id = $1";
const BILLED: &str = "SELECT count(*) FROM history WHERE order_id = $1 AND event = 'billed'";

/// Whoever learns something else of the same order waits until this transaction has ended.
async fn lock(connection: &mut PgConnection, order: i64) -> Result<(), sqlx::Error> {
    let lock = sqlx::query("SELECT 1 FROM orders WHERE id = $1 FOR UPDATE");
    lock.bind(order).execute(connection).await?;
    Ok(())
}

async fn count(connection: &mut PgConnection, sql: &'static str, order: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sql).bind(order).fetch_one(connection).await
}

async fn record(connection: &mut PgConnection, order: i64, event: &str) -> Result<(), sqlx::Error> {
    let record = sqlx::query("INSERT INTO history (order_id, event) VALUES ($1, $2)");
    record.bind(order).bind(event).execute(connection).await?;
    Ok(())
}
