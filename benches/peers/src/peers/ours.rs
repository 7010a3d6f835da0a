use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use ours_core::{OutboxAdmin, OutboxMessage, PublishError, Transport, TransportCapabilities};
use ours_relay::Relay;
use ours_sql::TableNames;
use ours_sqlx::{PostgresNotifier, PostgresStore, PostgresWakeup, PostgresWriter};
use sqlx_ours::{Connection, PgConnection, PgPool};

use super::{BATCH, OrderPlaced, PAYLOAD, Peer, TOPIC, Writer};
use crate::broker::Broker;
use crate::database::Database;
use crate::worker::Worker;

/// One relay with its defaults.
pub(crate) struct Ours {
    keyed: bool,
    learns: Learns,
}

/// How the relay learns of a commit.
enum Learns {
    /// It is in the process of the writers, which wake it.
    Woken,
    /// From the database, by `LISTEN`, as if it were in another process.
    Notified,
}

impl Ours {
    /// With 5,000 ordering keys, of which each has one message under way.
    pub(crate) const KEYED: Self = Self { keyed: true, learns: Learns::Woken };
    /// In no order, as the rivals.
    pub(crate) const UNKEYED: Self = Self { keyed: false, learns: Learns::Woken };
    pub(crate) const NOTIFIED: Self = Self { keyed: true, learns: Learns::Notified };
}

/// A transport to what stands for the broker.
struct Sink(Broker);

/// Messages under way to a broker that takes its time: as many as our own transports allow.
const WINDOW: usize = 1_000;

#[async_trait]
impl Transport for Sink {
    fn capabilities(&self) -> TransportCapabilities {
        let batch = usize::from(BATCH);
        if self.0.pause().is_zero() {
            TransportCapabilities::new("none").max_batch(batch).max_in_flight(1_000_000)
        } else {
            TransportCapabilities::new("slow").max_batch(WINDOW.div_ceil(4)).max_in_flight(WINDOW)
        }
    }

    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>> {
        let number = |message: &OutboxMessage| {
            serde_json::from_slice::<OrderPlaced>(message.payload()).map_or(u32::MAX, |event| event.order)
        };
        self.0.publish(batch, number).await;
        batch.iter().map(|_| Ok(())).collect()
    }

    async fn check(&self) -> Result<(), PublishError> {
        Ok(())
    }

    async fn close(&self, _timeout: Duration) -> Result<(), PublishError> {
        Ok(())
    }
}

#[async_trait]
impl Peer for Ours {
    fn name(&self) -> &'static str {
        match (&self.learns, self.keyed) {
            (Learns::Notified, _) => "ours, LISTEN",
            (Learns::Woken, true) => "ours, 5,000 keys",
            (Learns::Woken, false) => "ours, no keys",
        }
    }

    async fn create(&self, database: &Database) -> Result<()> {
        Ok(PostgresStore::from_url(&database.url)?.migrate().await.map(drop)?)
    }

    /// As a writer in any language may do it.
    fn fill(&self, messages: u32) -> String {
        let key = if self.keyed { "'order-' || n % 5000" } else { "NULL" };
        format!(
            "INSERT INTO outbox_messages (id, topic, ordering_key, payload)
             SELECT gen_random_uuid(), '{TOPIC}', {key}, convert_to({PAYLOAD}::text, 'utf8')
             FROM generate_series(1, {messages}) AS n"
        )
    }

    fn left(&self) -> &'static str {
        "SELECT count(*) FROM outbox_messages"
    }

    async fn start(&self, database: &Database, broker: Broker) -> Result<Worker> {
        let store = PostgresStore::from_url(&database.url)?;
        let relay = Relay::new(store, Sink(broker));
        match self.learns {
            Learns::Woken => {
                let relay = relay.start().await?;
                let waker = relay.waker();
                Ok(run(relay).woken_by(move || waker.wake()))
            }
            Learns::Notified => {
                let (pool, names) = (PgPool::connect(&database.url).await?, TableNames::default());
                let relay = relay.wakeup(PostgresWakeup::connect(&pool, &names).await?).start().await?;
                let notifier = PostgresNotifier::new(&pool, &names);
                Ok(run(relay).woken_by(move || notifier.notify()))
            }
        }
    }

    async fn writer(&self, database: &Database) -> Result<Box<dyn Writer>> {
        let connection = PgConnection::connect(&database.url).await?;
        Ok(Box::new(OurWriter { connection, writer: PostgresWriter::new() }))
    }
}

fn run(mut relay: ours_relay::RelayHandle) -> Worker {
    Worker::spawn_with(async move |stop, settled| {
        tokio::select! {
            ended = relay.ended() => ended.context("the relay")?,
            () = stop.cancelled() => {}
        }
        relay.drained().await?;
        // What follows is the release of the leases.
        settled.cancel();
        relay.shutdown().await?;
        Ok(())
    })
}

struct OurWriter {
    connection: PgConnection,
    writer: PostgresWriter,
}

#[async_trait]
impl Writer for OurWriter {
    async fn write(&mut self, event: OrderPlaced) -> Result<()> {
        let message = OutboxMessage::json(TOPIC, &event)?;
        let message = message.ordering_key(format_args!("order-{}", event.order % 5_000)).build()?;
        let mut tx = self.connection.begin().await?;
        self.writer.enqueue(&mut tx, &message).await?;
        Ok(tx.commit().await?)
    }
}
