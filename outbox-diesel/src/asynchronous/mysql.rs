use diesel::QueryResult;
use diesel::mysql::Mysql;
use diesel_async::{AsyncConnection, AsyncMysqlConnection};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use mysql_async::Opts;
use outbox_core::{Claim, StoreError, StoreErrorKind};
use outbox_sql::{Row, Statement};

use super::backend::{AsyncBackend, Rest};
use super::connections::Connections;
use super::connector::Connector;
use super::{AsyncProducerConnection, messages, statements};
use crate::error::ENGLISH;

/// Writes messages to an outbox in MySQL or MariaDB, through the connection of the caller's transaction.
pub type AsyncMySqlWriter = super::AsyncDieselWriter<Mysql>;
/// An outbox in MySQL or MariaDB, for the relay and the operator.
///
/// A connection that is brought along must count the rows that an `UPDATE` finds, as those of
/// `AsyncMysqlConnection::establish` do (`client_found_rows`).
pub type AsyncMySqlStore = super::AsyncDieselStore<AsyncMysqlConnection>;
/// The inbox of a consumer, in MySQL or MariaDB.
pub type AsyncMySqlInbox = super::AsyncDieselInbox<Mysql>;

impl AsyncBackend for AsyncMysqlConnection {
    type Database = Mysql;

    const SETTINGS: &[&str] = &[ENGLISH];

    fn connector(url: &str) -> Result<Connector<Self>, StoreError> {
        // Its error may repeat a part of the URL.
        let options = Opts::from_url(url).map_err(|_| {
            let text = "not a URL of MySQL or MariaDB, such as mysql://user:password@host:3306/database";
            StoreError::new(StoreErrorKind::Invalid, "connect", text)
        })?;
        let url = url.to_owned();
        Ok(Connector::new(address(&options), move || {
            let url = url.clone();
            async move { Self::establish(&url).await }.boxed()
        }))
    }

    fn messages<'c>(
        &'c mut self,
        statement: Statement<'c>,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'c, QueryResult<(Claim, Rest)>> {
        messages::read(self, statement, limit, max_bytes).boxed()
    }

    fn rows<'c>(&'c mut self, statement: Statement<'c>) -> BoxFuture<'c, QueryResult<Vec<Row>>> {
        statements::rows(self, statement).boxed()
    }

    fn run<'c>(&'c mut self, statement: Statement<'c>) -> BoxFuture<'c, QueryResult<usize>> {
        statements::count(self, statement).boxed()
    }

    /// Where a runtime is, mysql_async says goodbye in the background, and before that it reads all that the server still
    /// has to send. A thread without one just closes the socket.
    fn cut_off(self) {
        let _ = std::thread::Builder::new().spawn(move || drop(self));
    }

    fn examine(_connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
}

impl AsyncProducerConnection for AsyncMysqlConnection {
    type Database = Mysql;

    /// Not a rollback. The session's `autocommit` is off, and the driver takes an answer that nobody waited for for that of
    /// the next statement: whoever uses the connection all the same must get nothing but errors.
    const FAREWELL: Option<&'static str> = Some("KILL CONNECTION_ID()");
}

fn address(options: &Opts) -> String {
    let database = options.db_name().unwrap_or("(none)");
    match options.socket() {
        Some(socket) => format!("mysql database {database} at {socket}"),
        None => {
            format!("mysql database {database} at {}:{}", options.ip_or_hostname(), options.tcp_port())
        }
    }
}
