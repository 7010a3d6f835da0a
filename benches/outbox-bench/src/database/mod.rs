//! The databases, each with the real tables: a bare loop over simpler ones would be another comparison.

pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use anyhow::Result;
use outbox_sqlx::{Backend, SqlxStore, SqlxWriter};
use sqlx::Database as _;
use sqlx::pool::MaybePoolConnection;

use crate::raw::Bare;
use crate::workload::Workload;

/// The name of the schema, the database or the file: nothing of the user's is in the way.
const NAME: &str = "outbox_bench";

/// The connection of a driver.
pub(crate) type Connection<D> = <<D as Database>::Driver as sqlx::Database>::Connection;

/// A database with the tables of the outbox.
pub(crate) trait Database: Sized + Send {
    /// What to call it.
    const NAME: &'static str;
    type Driver: Backend<Connection: Bare + Send>;

    /// Empty tables, in the place of those of the measurement before.
    async fn fresh() -> Result<Self>;

    /// What the relay works on. It opens connections of its own.
    async fn store(&self) -> Result<SqlxStore<Self::Driver>>;

    /// A connection that is set up for reading and deleting quickly, in the same way as the relay's own.
    fn connection(&mut self) -> &mut Connection<Self>;

    /// Has written what the fill left to be written: it is not for the drain to pay.
    async fn checkpoint(&mut self) -> Result<()>;

    async fn version(&mut self) -> Result<String>;

    /// Removes the tables.
    async fn remove(self) -> Result<()>;
}
