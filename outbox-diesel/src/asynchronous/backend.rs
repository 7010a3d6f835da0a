use diesel::QueryResult;
use diesel_async::AsyncConnection;
use futures_util::future::BoxFuture;
use outbox_core::{Claim, StoreError};
use outbox_sql::{Row, Statement};

use super::connections::Connections;
use super::connector::Connector;
use crate::Backend;

/// What differs between the connections of diesel-async. Everything else of a store is written once, in
/// [`crate::AsyncDieselDriver`].
///
/// Implemented for `AsyncPgConnection`, `AsyncMysqlConnection` and `AsyncSqliteConnection`; not meant to be
/// implemented elsewhere.
pub trait AsyncBackend: AsyncConnection<Backend = Self::Database> + 'static {
    /// The database.
    type Database: Backend;

    /// Whether only one transaction at a time can write.
    const SINGLE_WRITER: bool = false;
    /// What each connection of the relay runs before the settings of the dialect.
    const SETTINGS: &[&str] = &[];
    /// Begins a transaction that is going to write.
    const BEGIN: &str = "BEGIN";

    /// What opens connections to the database at a URL.
    ///
    /// # Errors
    ///
    /// [`outbox_core::StoreErrorKind::Invalid`] if it is no URL of this database. The text does not repeat it.
    fn connector(url: &str) -> Result<Connector<Self>, StoreError>;

    /// Reads message rows up to a number of rows and of bytes. A failed or dropped read makes the connection unusable, as
    /// it does with the other operations.
    fn messages<'c>(
        &'c mut self,
        statement: Statement<'c>,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'c, QueryResult<(Claim, Rest)>>;

    /// Reads a small result.
    fn rows<'c>(&'c mut self, statement: Statement<'c>) -> BoxFuture<'c, QueryResult<Vec<Row>>>;

    /// Runs a statement for the number of rows it changes.
    fn run<'c>(&'c mut self, statement: Statement<'c>) -> BoxFuture<'c, QueryResult<usize>>;

    /// Closes the connection at once, whatever is going on in it.
    fn cut_off(self) {}

    /// Looks, once, for what would make the relay work badly here.
    fn examine(connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// What of a result was left unread.
#[derive(Debug)]
pub enum Rest {
    /// Nothing, or nothing that anyone sends.
    None,
    /// So much that the connection is to be closed.
    TooMuch,
}
