use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use pgmq::PGMQueueExt;
use sqlx::postgres::PgListener;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{BATCH, OrderPlaced, PAYLOAD, Peer, TOPIC, Writer};
use crate::broker::Broker;
use crate::database::Database;
use crate::worker::Worker;

/// A queue: a loop of one's own reads batches, hands each over as one, and deletes it.
pub(crate) struct Pgmq {
    /// Whether it notifies of each insert, and the loop listens.
    pub(crate) notifies: bool,
}

/// What is read and not deleted comes again after this many seconds: its default.
const VISIBILITY: i32 = 30;
/// Between reads that find nothing, where nobody notifies: its default for long polls.
const POLL: Duration = Duration::from_millis(250);
/// The same where somebody does: a notification may be lost.
const FALLBACK: Duration = Duration::from_secs(1);

#[async_trait]
impl Peer for Pgmq {
    fn name(&self) -> &'static str {
        if self.notifies { "pgmq 0.33, notified of each insert" } else { "pgmq 0.33" }
    }

    async fn create(&self, database: &Database) -> Result<()> {
        let queue = PGMQueueExt::new_with_pool(database.pool.clone()).await;
        queue.install_sql_from_embedded().await?;
        queue.create(TOPIC).await?;
        if self.notifies {
            queue.enable_notify_insert(TOPIC, Duration::ZERO).await?;
        }
        Ok(())
    }

    fn fill(&self, messages: u32) -> String {
        format!(
            "INSERT INTO pgmq.q_{TOPIC} (vt, message)
             SELECT now(), {PAYLOAD} FROM generate_series(1, {messages}) AS n"
        )
    }

    fn left(&self) -> &'static str {
        "SELECT count(*) FROM pgmq.q_orders"
    }

    async fn start(&self, database: &Database, broker: Broker) -> Result<Worker> {
        let queue = PGMQueueExt::new_with_pool(database.pool.clone()).await;
        let notifies = self.notifies;
        Ok(Worker::spawn(async move |stop| drain(queue, notifies, broker, stop).await))
    }

    async fn writer(&self, database: &Database) -> Result<Box<dyn Writer>> {
        let queue = PGMQueueExt::new_with_pool(database.pool.clone()).await;
        Ok(Box::new(PgmqWriter { connection: database.connect().await?, queue }))
    }
}

async fn drain(queue: PGMQueueExt, notifies: bool, broker: Broker, stop: CancellationToken) -> Result<()> {
    let mut listener = if notifies { Some(queue.queue_insert_listener(TOPIC).await?) } else { None };
    while !stop.is_cancelled() {
        let batch = queue.read_batch::<OrderPlaced>(TOPIC, VISIBILITY, BATCH.into()).await?;
        if !batch.is_empty() {
            broker.publish(&batch, |message| message.message.order).await;
            let ids: Vec<i64> = batch.iter().map(|message| message.msg_id).collect();
            queue.delete_batch(TOPIC, &ids).await?;
            continue;
        }
        let pause = if notifies { FALLBACK } else { POLL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
            heard = notification(listener.as_mut()) => heard?,
        }
    }
    Ok(())
}

/// Waits for one, or for ever.
async fn notification(listener: Option<&mut PgListener>) -> Result<()> {
    match listener {
        Some(listener) => Ok(listener.recv().await.map(drop)?),
        None => std::future::pending().await,
    }
}

struct PgmqWriter {
    connection: PgConnection,
    queue: PGMQueueExt,
}

#[async_trait]
impl Writer for PgmqWriter {
    async fn write(&mut self, event: OrderPlaced) -> Result<()> {
        let mut tx = self.connection.begin().await?;
        self.queue.send_with_cxn(TOPIC, &event, &mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
