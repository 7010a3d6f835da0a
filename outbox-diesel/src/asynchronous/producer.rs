use diesel_async::AsyncConnection;

use crate::Backend;

/// A connection of diesel-async that can have an [`AsyncOutboxTransaction`](crate::AsyncOutboxTransaction).
///
/// Implemented for `AsyncPgConnection`, `AsyncMysqlConnection` and `SyncConnectionWrapper<SqliteConnection>`. What a pool
/// lends is not one but has one: `&mut *lent`. May be implemented for a connection of your own.
#[diagnostic::on_unimplemented(
    message = "a transaction with messages can't run on `{Self}`",
    note = "pass the connection itself, neither a pool nor what it lends: `&mut *connection` with `connection` from `pool.get()`"
)]
pub trait AsyncProducerConnection: AsyncConnection<Backend = Self::Database> + 'static {
    /// The database.
    type Database: Backend;

    /// What the server is sent after a transaction that was dropped, so that its locks are gone before the connection is
    /// closed. Nobody waits for the answer. `None` if not even sending can be done at once.
    const FAREWELL: Option<&'static str>;
}
