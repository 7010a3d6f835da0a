use anyhow::Result;
use async_trait::async_trait;
use hexeract_core::HandlerContext;
use hexeract_outbox::{Event, Handler, OutboxError, OutboxPublisher};
use hexeract_outbox_sql::postgres::{PgOutboxPublisher, PgOutboxWorkerBuilder, ensure_schema};
use sqlx::{Connection, PgConnection};

use super::{BATCH, OrderPlaced, PAYLOAD, Peer, TOPIC, Writer};
use crate::broker::Broker;
use crate::database::Database;
use crate::worker::Worker;

/// One worker, with larger batches than its default of 10.
pub(crate) struct Hexeract;

const TABLE: &str = "hexeract_outbox";

impl Event for OrderPlaced {
    const EVENT_TYPE: &'static str = TOPIC;
}

struct Sink(Broker);

impl Handler<OrderPlaced> for Sink {
    type Error = OutboxError;

    async fn handle(&self, event: OrderPlaced, _context: &HandlerContext) -> Result<(), OutboxError> {
        self.0.publish(&[event], |event| event.order).await;
        Ok(())
    }
}

#[async_trait]
impl Peer for Hexeract {
    fn name(&self) -> &'static str {
        "hexeract 0.6"
    }

    async fn create(&self, database: &Database) -> Result<()> {
        Ok(ensure_schema(&database.pool, TABLE).await?)
    }

    fn fill(&self, messages: u32) -> String {
        format!(
            "INSERT INTO {TABLE} (event_id, event_type, payload)
             SELECT gen_random_uuid(), '{TOPIC}', {PAYLOAD} FROM generate_series(1, {messages}) AS n"
        )
    }

    fn left(&self) -> &'static str {
        "SELECT count(*) FROM hexeract_outbox WHERE delivered_at IS NULL"
    }

    async fn start(&self, database: &Database, broker: Broker) -> Result<Worker> {
        let worker = PgOutboxWorkerBuilder::new(database.pool.clone())
            .table_name(TABLE)
            .register_handler::<OrderPlaced, _>(Sink(broker))
            .batch_size(BATCH.into())
            .build()?;
        Ok(Worker::spawn(async move |stop| Ok(worker.run(stop).await?)))
    }

    async fn writer(&self, database: &Database) -> Result<Box<dyn Writer>> {
        let publisher = PgOutboxPublisher::new(database.pool.clone(), TABLE)?;
        Ok(Box::new(HexeractWriter { connection: database.connect().await?, publisher }))
    }
}

struct HexeractWriter {
    connection: PgConnection,
    publisher: PgOutboxPublisher,
}

#[async_trait]
impl Writer for HexeractWriter {
    async fn write(&mut self, event: OrderPlaced) -> Result<()> {
        let mut tx = self.connection.begin().await?;
        self.publisher.publish_in_tx(&mut tx, &event).await?;
        Ok(tx.commit().await?)
    }
}
