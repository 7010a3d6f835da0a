use diesel::QueryResult;
use diesel::connection::DefaultLoadingMode;
use diesel::result::Error;
use diesel::sqlite::{Sqlite, SqliteConnection};
use futures_util::future::BoxFuture;
use outbox_core::{Claim, StoreError};
use outbox_sql::{Row, Session, Statement};

use crate::blocking::backend::BlockingBackend;
use crate::blocking::connections::Connections;
use crate::blocking::origin::Origin;
use crate::blocking::read;
use crate::sqlite::file::DatabaseFile;
use crate::sqlite::version;

/// How long the library may take to name its version.
const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

impl BlockingBackend for SqliteConnection {
    type Database = Sqlite;

    const SINGLE_WRITER: bool = true;

    fn origin(url: &str) -> Result<Origin, StoreError> {
        let file = DatabaseFile::parse(url)?;
        Ok(Origin { url: file.uri, address: file.address, secrets: Vec::new() })
    }

    fn messages(&mut self, statement: Statement<'_>, limit: usize, max_bytes: usize) -> QueryResult<Claim> {
        read::messages::<DefaultLoadingMode, _>(self, statement, limit, max_bytes)
    }

    fn rows(&mut self, statement: Statement<'_>) -> QueryResult<Vec<Row>> {
        read::rows::<DefaultLoadingMode, _>(self, statement)
    }

    /// A transaction that reads first and writes then fails at once when another has written in between; one that says
    /// from the beginning that it writes waits for its turn.
    fn writing<T, E: From<Error>>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        self.immediate_transaction(run)
    }

    fn examine(connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            let lent = connections.reader(Session::Control).await?;
            let ask = |connection: &mut Self, _: &_| {
                connection.rows(Statement::once(version::QUESTION, Vec::new()))
            };
            let rows = lent.run("check", ANSWER_LIMIT, ask).await?;
            let version = rows.first().map(|row| row.text(0)).transpose()?.flatten();
            version::check(version.unwrap_or_default())
        })
    }
}
