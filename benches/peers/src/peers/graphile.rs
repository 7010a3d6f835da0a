use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use graphile_worker::{
    IntoTaskHandlerResult, LocalQueueConfig, TaskHandler, Worker as Graphiles, WorkerContext, WorkerOptions,
};
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};

use super::{BATCH, OrderPlaced, PAYLOAD, Peer, TOPIC, Writer};
use crate::broker::Broker;
use crate::database::Database;
use crate::worker::Worker;

/// A job queue, as a yardstick: it takes jobs one by one.
pub(crate) enum Graphile {
    /// Works off what there is, as its `run_once` does. Its `run` would take one job for each of its slots and each signal,
    /// and so of a backlog that nobody adds to 8 a second.
    Backlog,
    /// Set up as its documentation says for bursts of small jobs.
    Bursts,
    /// Runs, and is notified of each job.
    Notified,
}

const SCHEMA: &str = "graphile_worker";

impl TaskHandler for OrderPlaced {
    const IDENTIFIER: &'static str = TOPIC;

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let broker = context.get_ext::<Broker>().ok_or("no broker")?;
        broker.publish(&[self], |event| event.order).await;
        Ok::<(), &str>(())
    }
}

impl Graphile {
    async fn worker(&self, database: &Database, broker: Broker) -> Result<Graphiles> {
        let options = WorkerOptions::default().schema(SCHEMA).database_url(&database.url);
        let options = options.add_extension(broker).listen_os_shutdown_signals(false);
        let options = match self {
            Self::Bursts => options
                .concurrency(16)
                .poll_interval(Duration::from_millis(500))
                .complete_job_batch_delay(Duration::from_millis(5))
                .local_queue(LocalQueueConfig::default().with_size(BATCH.into())),
            Self::Backlog | Self::Notified => options.concurrency(8),
        };
        Ok(options.define_job::<OrderPlaced>().init().await?)
    }
}

#[async_trait]
impl Peer for Graphile {
    fn name(&self) -> &'static str {
        match self {
            Self::Backlog => "graphile_worker 0.14, 8 jobs at once",
            Self::Bursts => "graphile_worker 0.14, 16 jobs at once, local queue, completions in batches",
            Self::Notified => "graphile_worker 0.14, notified of each job",
        }
    }

    async fn create(&self, database: &Database) -> Result<()> {
        // To make one makes the tables.
        self.worker(database, Broker::new(0, Duration::ZERO)).await.map(drop)
    }

    /// Into its table: its function takes minutes for so many in one transaction.
    fn fill(&self, messages: u32) -> String {
        format!(
            "INSERT INTO {SCHEMA}._private_jobs (task_id, payload)
             SELECT task.id, {PAYLOAD}::json FROM generate_series(1, {messages}) AS n, {SCHEMA}._private_tasks AS task
             WHERE task.identifier = '{TOPIC}'"
        )
    }

    fn left(&self) -> &'static str {
        "SELECT count(*) FROM graphile_worker._private_jobs"
    }

    async fn start(&self, database: &Database, broker: Broker) -> Result<Worker> {
        let worker = Arc::new(self.worker(database, broker).await?);
        let once = matches!(self, Self::Backlog);
        Ok(Worker::spawn(async move |stop| {
            if once {
                worker.run_once().await?;
                stop.cancelled().await;
                return Ok(());
            }
            let running = worker.run();
            tokio::pin!(running);
            tokio::select! {
                ended = &mut running => return Ok(ended?),
                () = stop.cancelled() => worker.request_shutdown(),
            }
            Ok(running.await?)
        }))
    }

    async fn writer(&self, database: &Database) -> Result<Box<dyn Writer>> {
        Ok(Box::new(GraphileWriter { connection: database.connect().await? }))
    }
}

struct GraphileWriter {
    connection: PgConnection,
}

#[async_trait]
impl Writer for GraphileWriter {
    /// By its function, as it has no writer for a transaction of one's own on this version of sqlx.
    async fn write(&mut self, event: OrderPlaced) -> Result<()> {
        let mut tx = self.connection.begin().await?;
        let add = sqlx::query("SELECT graphile_worker.add_job($1, $2::json)").bind(TOPIC).bind(Json(event));
        add.execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
