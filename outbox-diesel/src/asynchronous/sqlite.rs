use std::error::Error;

use diesel::sqlite::Sqlite;
use diesel::{QueryResult, SqliteConnection};
use diesel_async::AsyncConnection;
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use outbox_core::{Claim, StoreError};
use outbox_sql::{Row, Session, Statement};

use super::backend::{AsyncBackend, Rest};
use super::connections::Connections;
use super::connector::Connector;
use super::{AsyncProducerConnection, statements};
use crate::BlockingBackend;
use crate::blocking::owned;
use crate::sqlite::file::DatabaseFile;
use crate::sqlite::version;

/// Writes messages to an outbox in SQLite, through the connection of the caller's transaction.
pub type AsyncSqliteWriter = super::AsyncDieselWriter<Sqlite>;
/// An outbox in SQLite, for the relay and the operator. The database is a file: one in memory is seen by one connection
/// only.
pub type AsyncSqliteStore = super::AsyncDieselStore<AsyncSqliteConnection>;
/// The inbox of a consumer, in SQLite.
pub type AsyncSqliteInbox = super::AsyncDieselInbox<Sqlite>;
/// A connection to SQLite as [`AsyncSqliteStore`] needs it: one that may be dropped while it works. Made from another by
/// `AsyncSqliteConnection::with_runtime(connection, SqliteThreads)`.
pub type AsyncSqliteConnection = SyncConnectionWrapper<SqliteConnection, SqliteThreads>;

/// Runs statements on tokio's threads for work that blocks.
///
/// diesel-async's own way holds up the thread that drops a future until the statement has ended, and panics in a runtime
/// of a single thread. Here the statement goes on by itself, and then its connection is closed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteThreads;

impl SpawnBlocking for SqliteThreads {
    fn spawn_blocking<'a, R>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, Result<R, Box<dyn Error + Send + Sync + 'static>>>
    where
        R: Send + 'static,
    {
        tokio::task::spawn_blocking(task).map(|done| done.map_err(Into::into)).boxed()
    }

    fn get_runtime() -> Self {
        Self
    }
}

impl AsyncBackend for AsyncSqliteConnection {
    type Database = Sqlite;

    const SINGLE_WRITER: bool = true;
    /// A transaction that reads first and writes then fails at once when another has written in between; one that says
    /// from the beginning that it writes waits for its turn.
    const BEGIN: &str = "BEGIN IMMEDIATE";

    fn connector(url: &str) -> Result<Connector<Self>, StoreError> {
        let DatabaseFile { uri, address } = DatabaseFile::parse(url)?;
        Ok(Connector::new(address, move || {
            let uri = uri.clone();
            async move { Self::establish(&uri).await }.boxed()
        }))
    }

    /// diesel-async would first read all rows into memory.
    fn messages<'c>(
        &'c mut self,
        statement: Statement<'c>,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'c, QueryResult<(Claim, Rest)>> {
        let statement = owned::statement(statement);
        // SQLite makes a row when it is asked for it: nothing is left to be read.
        self.spawn_blocking(move |connection| {
            let claim = BlockingBackend::messages(connection, statement, limit, max_bytes)?;
            Ok((claim, Rest::None))
        })
    }

    fn rows<'c>(&'c mut self, statement: Statement<'c>) -> BoxFuture<'c, QueryResult<Vec<Row>>> {
        statements::rows(self, statement).boxed()
    }

    fn run<'c>(&'c mut self, statement: Statement<'c>) -> BoxFuture<'c, QueryResult<usize>> {
        statements::count(self, statement).boxed()
    }

    /// Closing a file may take a while.
    fn cut_off(self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(self));
        }
    }

    fn examine(connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>> {
        check_version(connections).boxed()
    }
}

impl<S> AsyncProducerConnection for SyncConnectionWrapper<SqliteConnection, S>
where
    S: SpawnBlocking + Send + 'static,
{
    type Database = Sqlite;

    /// It would be a statement on another thread, for which diesel-async lets this one wait.
    const FAREWELL: Option<&'static str> = None;
}

/// Refuses a SQLite library that is too old.
async fn check_version(connections: &Connections<AsyncSqliteConnection>) -> Result<(), StoreError> {
    let mut lent = connections.reader(Session::Control).await?;
    let statement = Statement::once(version::QUESTION, Vec::new());
    match lent.connection().rows(statement).await {
        Ok(rows) => {
            lent.give_back();
            let row = rows.into_iter().next().unwrap_or_default();
            version::check(row.text(0)?.unwrap_or_default())
        }
        Err(error) => Err(lent.fail("check", error)),
    }
}
