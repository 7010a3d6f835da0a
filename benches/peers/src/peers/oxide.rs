use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use oxide_core::prelude::{
    Event, NoIdempotency, OutboxConfig, OutboxError, OutboxManagerBuilder, OutboxService, Transport,
};
use oxide_postgres::{PostgresOutbox, PostgresWriter};
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::watch;

use super::{BATCH, OrderPlaced, PAYLOAD, Peer, TOPIC, Writer};
use crate::broker::Broker;
use crate::database::Database;
use crate::worker::Worker;

/// One worker, with larger batches than its default of 100.
pub(crate) struct Oxide {
    /// Whether the table has the trigger of its README, which notifies for every row that is written or changed.
    pub(crate) notifies: bool,
}

/// The tables of its README.
const TABLES: &str = "CREATE TYPE status AS ENUM ('Pending', 'Processing', 'Sent');
    CREATE TABLE outbox_events (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        idempotency_token text DEFAULT NULL,
        event_type text NOT NULL,
        payload jsonb NOT NULL,
        status status NOT NULL DEFAULT 'Pending',
        created_at timestamptz NOT NULL DEFAULT now(),
        locked_until timestamptz NOT NULL DEFAULT '-infinity'
    );
    CREATE INDEX idx_outbox_processing_queue ON outbox_events (locked_until ASC, status)
        WHERE status IN ('Pending', 'Processing');
    CREATE UNIQUE INDEX idx_outbox_idempotency ON outbox_events (idempotency_token);";

const TRIGGER: &str = "CREATE FUNCTION notify_outbox_event() RETURNS trigger AS $$
    BEGIN
        PERFORM pg_notify('outbox_event', 'ping');
        RETURN new;
    END;
    $$ LANGUAGE plpgsql;
    CREATE TRIGGER outbox_events_notify_trigger AFTER INSERT OR UPDATE ON outbox_events
        FOR EACH ROW EXECUTE FUNCTION notify_outbox_event();";

fn config() -> Arc<OutboxConfig<OrderPlaced>> {
    let mut config = OutboxConfig::default();
    config.batch_size = BATCH.into();
    Arc::new(config)
}

struct Sink(Broker);

#[async_trait]
impl Transport<OrderPlaced> for Sink {
    async fn publish(&self, event: Event<OrderPlaced>) -> Result<(), OutboxError> {
        self.0.publish(&[event], |event| event.payload.as_value().order).await;
        Ok(())
    }
}

#[async_trait]
impl Peer for Oxide {
    fn name(&self) -> &'static str {
        if self.notifies { "oxide-outbox 0.6" } else { "oxide-outbox 0.6, without its trigger" }
    }

    async fn create(&self, database: &Database) -> Result<()> {
        database.pool.execute(TABLES).await?;
        if self.notifies {
            database.pool.execute(TRIGGER).await?;
        }
        Ok(())
    }

    /// With the values that its writer gives.
    fn fill(&self, messages: u32) -> String {
        format!(
            "INSERT INTO outbox_events (event_type, payload, locked_until)
             SELECT '{TOPIC}', {PAYLOAD}, 'epoch' FROM generate_series(1, {messages}) AS n"
        )
    }

    fn left(&self) -> &'static str {
        "SELECT count(*) FROM outbox_events WHERE status <> 'Sent'"
    }

    async fn start(&self, database: &Database, broker: Broker) -> Result<Worker> {
        let config = config();
        let (stopper, stopped) = watch::channel(false);
        let manager = OutboxManagerBuilder::new()
            .storage(Arc::new(PostgresOutbox::new(database.pool.clone(), Arc::clone(&config))))
            .publisher(Arc::new(Sink(broker)))
            .config(config)
            .shutdown_rx(stopped)
            .build()?;
        Ok(Worker::spawn(async move |stop| {
            let running = manager.run();
            tokio::pin!(running);
            tokio::select! {
                ended = &mut running => return Ok(ended?),
                () = stop.cancelled() => stopper.send(true)?,
            }
            Ok(running.await?)
        }))
    }

    async fn writer(&self, database: &Database) -> Result<Box<dyn Writer>> {
        let service = OutboxService::new(Arc::new(PostgresWriter), config());
        Ok(Box::new(OxideWriter { connection: database.connect().await?, service }))
    }
}

struct OxideWriter {
    connection: PgConnection,
    service: OutboxService<PostgresWriter, NoIdempotency, OrderPlaced>,
}

#[async_trait]
impl Writer for OxideWriter {
    async fn write(&mut self, event: OrderPlaced) -> Result<()> {
        let mut tx = self.connection.begin().await?;
        self.service.add_event(TOPIC, event, None, &mut tx).await?;
        Ok(tx.commit().await?)
    }
}
