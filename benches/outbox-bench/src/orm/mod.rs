//! Transactions of a business, through each ORM in its own idiom.

mod diesel;
mod diesel_async;
mod sea_orm;
mod sqlx;

pub(crate) use self::diesel::Diesel;
pub(crate) use self::diesel_async::DieselAsync;
pub(crate) use self::sea_orm::SeaOrm;
pub(crate) use self::sqlx::Sqlx;

use anyhow::Result;
use async_trait::async_trait;
use outbox_core::OutboxMessage;

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
    fn worker<'a>(&'a self, url: &'a str) -> futures_util::future::BoxFuture<'a, Result<Box<dyn Worker>>>;
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
