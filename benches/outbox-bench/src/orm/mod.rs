//! Transactions of a business, and bare drains, through each ORM in its own idiom.

mod diesel;
mod diesel_async;
mod diesel_row;
mod sea_orm;
mod sqlx;

pub(crate) use self::diesel::Diesel;
pub(crate) use self::diesel_async::DieselAsync;
pub(crate) use self::sea_orm::SeaOrm;
pub(crate) use self::sqlx::Sqlx;

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use outbox_core::{OutboxMessage, OutboxStore};

use crate::database::NAME;

/// What is done beside the update of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// An `INSERT` of the columns that have a value, written by hand.
    ByHand,
    Outbox,
}

/// An ORM on PostgreSQL.
pub(crate) trait Orm: Sync {
    fn name(&self) -> &'static str;

    /// A connection of a worker.
    fn worker<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Worker>>>;

    /// What a relay works on.
    fn store(&self, url: &str) -> Result<Arc<dyn OutboxStore>>;

    /// The best loop that one could write by hand with it, on a connection that is open already.
    fn bare<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Bare>>>;
}

/// Empties the table: reads 1,000 whole rows forward and deletes them, until it has deleted so many.
#[async_trait]
pub(crate) trait Bare: Send {
    async fn drain(&mut self, messages: u32) -> Result<()>;
}

#[async_trait]
pub(crate) trait Worker: Send {
    /// Begin, update a row of the worker's own, write the message, commit.
    async fn transaction(&mut self, account: i64, message: &OutboxMessage, beside: Beside) -> Result<()>;
}

/// The update, with the row as its parameter.
fn update() -> String {
    format!("UPDATE {NAME}.accounts SET version = version + 1 WHERE id = $1")
}

/// The insert that one would write by hand.
fn insert() -> String {
    format!(
        "INSERT INTO {NAME}.outbox_messages (id, topic, ordering_key, event_type, payload) VALUES ($1, $2, $3, $4, $5)"
    )
}

fn names() -> Result<outbox_sql::TableNames> {
    Ok(outbox_sql::TableNames::new(Some(NAME), "")?)
}

/// What a bare loop reads: every column, as the numbers and texts that each client can read.
fn claim() -> String {
    format!(
        "SELECT seq, id, topic, ordering_key, event_type, schema_version::bigint AS schema_version, aggregate_type,
             aggregate_id, correlation_id, content_type, headers::text AS headers, payload,
             (extract(epoch FROM created_at) * 1000000)::bigint AS created_at,
             (extract(epoch FROM available_at) * 1000000)::bigint AS available_at, max_attempts::bigint AS max_attempts
         FROM {NAME}.outbox_messages WHERE seq > $1 ORDER BY seq LIMIT 1000"
    )
}

fn delete() -> String {
    format!("DELETE FROM {NAME}.outbox_messages WHERE seq BETWEEN $1 AND $2")
}

/// How far a bare loop has come.
#[derive(Debug, Default)]
struct Place {
    cursor: i64,
    drained: u64,
}

impl Place {
    /// The range of a page that was read, which may be deleted as one if it has no gap.
    fn read(&mut self, seqs: &[i64]) -> Result<(i64, i64)> {
        let (low, high) = seqs.first().zip(seqs.last()).context("no rows are left")?;
        ensure!(usize::try_from(high - low + 1)? == seqs.len(), "the rows are not contiguous");
        self.cursor = *high;
        Ok((*low, *high))
    }

    fn is_short_of(&self, messages: u32) -> bool {
        self.drained < u64::from(messages)
    }
}
