//! Commits at times that were fixed before: a slow one makes no later one late without its being seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use outbox_core::OutboxMessage;
use outbox_sql::TableNames;
use outbox_sqlx::PostgresWriter;
use sqlx::{Connection, PgConnection};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::clock::now;
use super::cpu::SCHEDULE;
use crate::database::NAME as SCHEMA;

/// Transactions at once: enough that a commit whose flush is slow keeps nobody from the next one.
const CONNECTIONS: usize = 16;
const KEYS: u32 = 5_000;
const PAYLOAD: usize = 200;

/// When a message was to be committed, and when it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) number: u32,
    pub(super) due: i64,
    pub(super) committed: i64,
}

/// What a writer does right after its commit.
pub(super) type AfterCommit = Arc<dyn Fn() + Send + Sync>;

/// Connections with a transaction each.
pub(super) struct Producers {
    connections: Vec<PgConnection>,
    writer: PostgresWriter,
    topic: String,
    after_commit: AfterCommit,
}

impl Producers {
    pub(super) async fn connect(
        url: &str,
        topic: String,
        prepare: impl FnOnce(PostgresWriter) -> PostgresWriter,
        after_commit: AfterCommit,
    ) -> Result<Self> {
        let writer = prepare(PostgresWriter::with_names(&names()?));
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = PgConnection::connect(url).await?;
            // Prepared, and rolled back.
            let mut tx = connection.begin().await?;
            writer.enqueue(&mut tx, &message(&topic, 0)?).await?;
            tx.rollback().await?;
            connections.push(connection);
        }
        Ok(Self { connections, writer, topic, after_commit })
    }

    /// This many messages, each at its time.
    pub(super) async fn at_rate(self, rate: u32, messages: u32) -> Result<Vec<Commit>> {
        let turns = Arc::new(Semaphore::new(0));
        let (start, started) = (Instant::now() + LEAD, now() + i64::try_from(LEAD.as_nanos())?);
        let interval = Duration::from_secs(1) / rate;
        let nanos = i64::try_from(interval.as_nanos())?;
        let schedule = {
            let turns = Arc::clone(&turns);
            // A thread of its own: timers of the runtime are exact to a millisecond only.
            thread::Builder::new().name(SCHEDULE.to_owned()).spawn(move || {
                for number in 0..messages {
                    let due = start + interval * number;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    turns.add_permits(1);
                }
                turns.add_permits(CONNECTIONS);
            })?
        };
        let next = Arc::new(AtomicU32::new(0));
        let commits = self.work(move |_| {
            let (turns, next) = (Arc::clone(&turns), Arc::clone(&next));
            async move {
                turns.acquire().await.ok()?.forget();
                let number = next.fetch_add(1, Ordering::Relaxed);
                (number < messages).then(|| (number, started + nanos * i64::from(number)))
            }
        });
        let commits = commits.await?;
        schedule.join().ok().context("the schedule panicked")?;
        Ok(commits)
    }

    /// As many as there can be in this time, one after the other on each connection.
    pub(super) async fn at_full_speed(self, time: Duration) -> Result<Vec<Commit>> {
        let end = Instant::now() + time;
        let next = Arc::new(AtomicU32::new(0));
        self.work(move |_| {
            let next = Arc::clone(&next);
            async move { (Instant::now() < end).then(|| (next.fetch_add(1, Ordering::Relaxed), now())) }
        })
        .await
    }

    /// Commits as long as there is a turn: the number of a message, and the time at which it is due.
    async fn work<F, T>(self, turn: F) -> Result<Vec<Commit>>
    where
        F: Fn(usize) -> T + Clone + Send + 'static,
        T: Future<Output = Option<(u32, i64)>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for (place, mut connection) in self.connections.into_iter().enumerate() {
            let (writer, topic, turn) = (self.writer.clone(), self.topic.clone(), turn.clone());
            let after_commit = Arc::clone(&self.after_commit);
            tasks.spawn(async move {
                let mut commits = Vec::new();
                while let Some((number, due)) = turn(place).await {
                    let message = message(&topic, number)?;
                    let mut tx = connection.begin().await?;
                    writer.enqueue(&mut tx, &message).await?;
                    tx.commit().await?;
                    let committed = now();
                    after_commit();
                    commits.push(Commit { number, due, committed });
                }
                connection.close().await?;
                anyhow::Ok(commits)
            });
        }
        let mut commits = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            commits.extend(ended??);
        }
        commits.sort_unstable_by_key(|commit| commit.number);
        Ok(commits)
    }
}

/// From the making of a schedule to its first commit.
const LEAD: Duration = Duration::from_millis(50);

pub(super) fn names() -> Result<TableNames> {
    Ok(TableNames::new(Some(SCHEMA), "")?)
}

fn message(topic: &str, number: u32) -> Result<OutboxMessage> {
    let mut payload = vec![b'x'; PAYLOAD];
    payload[..4].copy_from_slice(&number.to_le_bytes());
    let message = OutboxMessage::bytes(topic, payload)?.ordering_key(format_args!("order-{}", number % KEYS));
    Ok(message.event_type("OrderPlaced").build()?)
}
