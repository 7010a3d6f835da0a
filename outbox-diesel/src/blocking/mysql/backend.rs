use diesel::QueryResult;
use diesel::connection::DefaultLoadingMode;
use diesel::mysql::{Mysql, MysqlConnection};
use futures_util::future::{self, BoxFuture};
use outbox_core::{Claim, StoreError};
use outbox_sql::{Row, Statement};

use crate::blocking::backend::BlockingBackend;
use crate::blocking::connections::Connections;
use crate::blocking::origin::Origin;
use crate::blocking::read;
use crate::error::ENGLISH;
use crate::url::DatabaseUrl;

impl BlockingBackend for MysqlConnection {
    type Database = Mysql;

    const SETTINGS: &[&str] = &[ENGLISH];

    fn origin(url: &str) -> Result<Origin, StoreError> {
        let parts = DatabaseUrl::parse(url, &["mysql"])?;
        let database = if parts.database.is_empty() { "(none)" } else { parts.database };
        let at = parts.parameter("unix_socket").unwrap_or_else(|| parts.at("localhost", "3306"));
        let address = format!("mysql database {database} at {at}");
        Ok(Origin { url: url.to_owned(), address, secrets: parts.secrets() })
    }

    /// The client library has the whole result in memory before the first row is seen.
    fn messages(&mut self, statement: Statement<'_>, limit: usize, max_bytes: usize) -> QueryResult<Claim> {
        read::messages::<DefaultLoadingMode, _>(self, statement, limit, max_bytes)
    }

    fn rows(&mut self, statement: Statement<'_>) -> QueryResult<Vec<Row>> {
        read::rows::<DefaultLoadingMode, _>(self, statement)
    }

    fn examine(_connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(future::ready(Ok(())))
    }
}
