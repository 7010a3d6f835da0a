use std::fmt;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use outbox_core::{StoreError, StoredMessage};
use outbox_sql::{Cell, Dialect, Value};

use sqlx::database::HasStatementCache;
use sqlx::error::BoxDynError;
use sqlx::query::Query;
use sqlx::{Connection, Database, IntoArguments, Pool, SqlStr, Transaction};

use crate::connections::Connections;

/// A stream of rows.
pub(crate) type Rows<'c, DB> = BoxStream<'c, Result<<DB as Database>::Row, sqlx::Error>>;
/// The options a connection is opened with.
pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;
/// A query with its arguments.
pub(crate) type Bound<DB> = Query<'static, DB, <DB as Database>::Arguments>;

/// What differs between the databases of sqlx. Everything else of a store is written once, in [`crate::SqlxDriver`].
///
/// Implemented for `sqlx::Postgres`, `sqlx::MySql` and `sqlx::Sqlite`; not meant to be implemented elsewhere.
pub trait Backend: Database<Arguments: IntoArguments<Self>> + HasStatementCache + fmt::Debug {
    /// Its SQL.
    const DIALECT: Dialect;
    /// Whether only one transaction at a time can write.
    const SINGLE_WRITER: bool = false;
    /// Whether rows that nobody asks for are never sent.
    const STOPS_READING: bool = false;
    /// Whether every statement stays prepared, also one that was made for a single use. To close one is a message that
    /// the server does not answer; sqlx 0.9.0 leaves Nagle's algorithm on, and so the next statement waits for 40 ms.
    const KEEPS_STATEMENTS: bool = false;

    /// Whether the connection of a transaction that was dropped is closed instead of rolled back: sqlx can't tell what is
    /// left of an answer that was cut off from the next one, and the session was changed for the transaction.
    const CLOSES_UNFINISHED: bool = false;

    /// Binds values.
    fn arguments(values: Vec<Value<'_>>) -> Result<Self::Arguments, BoxDynError>;

    /// Reads a row of `MESSAGE_COLUMNS`.
    fn message(row: &Self::Row) -> Result<StoredMessage, sqlx::Error>;

    /// Reads one value of a small result.
    fn cell(row: &Self::Row, column: usize) -> Result<Cell, sqlx::Error>;

    /// Runs a query for its rows.
    fn fetch(connection: &mut Self::Connection, query: Bound<Self>) -> Rows<'_, Self>;

    /// Runs a query for the number of rows it changes.
    fn execute(
        connection: &mut Self::Connection,
        query: Bound<Self>,
    ) -> BoxFuture<'_, Result<u64, sqlx::Error>>;

    /// Runs a text of several statements.
    fn script(connection: &mut Self::Connection, sql: SqlStr) -> BoxFuture<'_, Result<(), sqlx::Error>>;

    /// Begins a transaction that is going to write.
    fn begin(connection: &mut Self::Connection) -> BoxFuture<'_, Result<Transaction<'_, Self>, sqlx::Error>> {
        Box::pin(connection.begin())
    }

    /// What a connection of the relay is opened with, where it differs from the user's.
    fn relay_options(options: &Options<Self>) -> Options<Self> {
        options.clone()
    }

    /// Whether the database can be reached through the pool's own connections only.
    fn only_in_pool(_pool: &Pool<Self>) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(async { Ok(false) })
    }

    /// Looks, once, for what would make the relay work badly here.
    fn examine(_connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    /// Where these options lead to, without user and password.
    fn address(options: &Options<Self>) -> String;
}
