use diesel::result::{ConnectionError, ConnectionResult, Error};
use diesel::{Connection, QueryResult};
use futures_util::future::BoxFuture;
use outbox_core::{Claim, StoreError};
use outbox_sql::{Row, Statement};

use super::connections::Connections;
use super::origin::Origin;
use crate::Backend;

/// What differs between the connections of diesel. Everything else of a store is written once, in
/// [`crate::DieselDriver`].
///
/// Implemented for `PgConnection`, `MysqlConnection` and `SqliteConnection`; not meant to be implemented elsewhere.
pub trait BlockingBackend: Connection<Backend = Self::Database> + 'static {
    /// The database.
    type Database: Backend;

    /// Whether only one transaction at a time can write.
    const SINGLE_WRITER: bool = false;
    /// What each connection of the relay runs before the settings of the dialect.
    const SETTINGS: &[&str] = &[];

    /// Where a URL leads to.
    ///
    /// # Errors
    ///
    /// [`outbox_core::StoreErrorKind::Invalid`] if it is no URL of this database.
    fn origin(url: &str) -> Result<Origin, StoreError>;

    /// Reads message rows up to a number of rows and of bytes.
    ///
    /// # Errors
    ///
    /// The database's.
    fn messages(&mut self, statement: Statement<'_>, limit: usize, max_bytes: usize) -> QueryResult<Claim>;

    /// Reads a small result.
    ///
    /// # Errors
    ///
    /// The database's.
    fn rows(&mut self, statement: Statement<'_>) -> QueryResult<Vec<Row>>;

    /// Runs a transaction that is going to write.
    ///
    /// # Errors
    ///
    /// The database's, or what `run` ended with; the transaction is then rolled back.
    fn writing<T, E: From<Error>>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        self.transaction(run)
    }

    /// Looks, once, for what would make the relay work badly here.
    fn examine(connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Opens a connection of the relay.
pub(super) fn open<C: BlockingBackend>(origin: &Origin) -> ConnectionResult<C> {
    let mut connection = C::establish(&origin.url)?;
    for setting in C::SETTINGS.iter().chain(C::Database::DIALECT.session_settings()) {
        connection.batch_execute(setting).map_err(ConnectionError::CouldntSetupConfiguration)?;
    }
    Ok(connection)
}
