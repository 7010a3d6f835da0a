//! The databases, each with the real tables: a bare loop over simpler ones would be another comparison.

pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use anyhow::Result;
use outbox_sqlx::{Backend, SqlxStore, SqlxWriter};

use crate::raw::Bare;
use crate::workload::{Shape, Workload};

/// The name of the schema, the database or the file: nothing of the user's is in the way.
pub(crate) const NAME: &str = "outbox_bench";

/// The connection of a database's driver.
pub(crate) type Connection<D> = <<D as Database>::Driver as sqlx::Database>::Connection;

/// A database with the tables of the outbox.
pub(crate) trait Database: Sized {
    /// What to call it.
    const NAME: &'static str;
    type Driver: Backend<Connection: Bare>;

    /// Empty tables, in the place of those of the measurement before.
    async fn fresh() -> Result<Self>;

    /// What the relay works on. It opens connections of its own.
    fn store(&self) -> Result<SqlxStore<Self::Driver>>;

    /// A connection with the settings that the relay gives its own.
    fn connection(&mut self) -> &mut Connection<Self>;

    /// Has written what a fill left to be written: that is not for the drain to pay.
    async fn checkpoint(&mut self) -> Result<()>;

    async fn version(&mut self) -> Result<String>;

    /// Removes the tables.
    async fn remove(self) -> Result<()>;
}

/// Messages in the tables, committed.
pub(crate) async fn fill<D: Database>(database: &mut D, workload: &Workload, count: u32) -> Result<()> {
    fill_with(database, workload.shape(), count).await
}

/// Messages of any shape in the tables, committed.
pub(crate) async fn fill_with<D: Database>(database: &mut D, shape: Shape, count: u32) -> Result<()> {
    let mut transaction = D::Driver::begin(database.connection()).await?;
    write_shape::<D>(&mut transaction, shape, count).await?;
    Ok(transaction.commit().await?)
}

/// Messages in an open transaction.
pub(crate) async fn write<D: Database>(
    connection: &mut Connection<D>,
    workload: &Workload,
    count: u32,
) -> Result<()> {
    write_shape::<D>(connection, workload.shape(), count).await
}

/// Messages of any shape in an open transaction.
pub(crate) async fn write_shape<D: Database>(
    connection: &mut Connection<D>,
    shape: Shape,
    count: u32,
) -> Result<()> {
    let writer = SqlxWriter::<D::Driver>::new();
    for part in shape.parts(count) {
        writer.enqueue_all(connection, &part?).await?;
    }
    Ok(())
}
