use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use backbone_outbox::OutboxRecord;
use backbone_outbox::outbox::{migrate, stage};
use backbone_outbox::relay::drain_once;
use sqlx::types::Uuid;
use sqlx::types::chrono::Utc;
use sqlx::{Connection, PgConnection};

use super::{BATCH, OrderPlaced, PAYLOAD, Peer, Writer};
use crate::broker::Broker;
use crate::database::Database;
use crate::worker::Worker;

/// One worker, with larger batches than its default of 100.
pub(crate) struct Backbone;

const SCHEMA: &str = "backbone";
/// Between passes that find less than a batch: the default of its runner.
const POLL: Duration = Duration::from_secs(1);

#[async_trait]
impl Peer for Backbone {
    fn name(&self) -> &'static str {
        "backbone-outbox 3.19"
    }

    async fn create(&self, database: &Database) -> Result<()> {
        Ok(migrate(&database.pool, SCHEMA).await?)
    }

    fn fill(&self, messages: u32) -> String {
        format!(
            "INSERT INTO {SCHEMA}.outbox_events
                 (id, event_type, aggregate_type, aggregate_id, company_id, payload, occurred_at)
             SELECT gen_random_uuid(), 'OrderPlaced', 'order', 'order-' || n % 5000, gen_random_uuid(), {PAYLOAD},
                 now() + n * interval '1 microsecond'
             FROM generate_series(1, {messages}) AS n"
        )
    }

    fn left(&self) -> &'static str {
        "SELECT count(*) FROM backbone.outbox_events WHERE published_at IS NULL"
    }

    /// The loop of its runner, which would drop what it is doing when it is stopped.
    async fn start(&self, database: &Database, broker: Broker) -> Result<Worker> {
        let pool = database.pool.clone();
        Ok(Worker::spawn(async move |stop| {
            while !stop.is_cancelled() {
                let publish = |record: OutboxRecord| {
                    let broker = broker.clone();
                    async move {
                        broker.publish(&[record], number).await;
                        Ok(())
                    }
                };
                let published = drain_once(&pool, SCHEMA, BATCH.into(), publish).await?;
                if published < usize::from(BATCH) {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
            }
            Ok(())
        }))
    }

    async fn writer(&self, database: &Database) -> Result<Box<dyn Writer>> {
        Ok(Box::new(BackboneWriter { connection: database.connect().await? }))
    }
}

fn number(record: &OutboxRecord) -> u32 {
    record.payload["order"].as_u64().and_then(|order| order.try_into().ok()).unwrap_or(u32::MAX)
}

struct BackboneWriter {
    connection: PgConnection,
}

#[async_trait]
impl Writer for BackboneWriter {
    async fn write(&mut self, event: OrderPlaced) -> Result<()> {
        let key = format!("order-{}", event.order % 5_000);
        let payload = serde_json::to_value(event)?;
        let record = OutboxRecord::new("OrderPlaced", "order", key, Uuid::nil(), payload, Utc::now());
        let mut tx = self.connection.begin().await?;
        stage(&mut *tx, SCHEMA, &record).await?;
        Ok(tx.commit().await?)
    }
}
