use std::error::Error as _;

use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::AsyncPgConnection;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use outbox_core::{Claim, StoreError, StoreErrorKind};
use outbox_sql::{Row, Statement};
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

use super::backend::{AsyncBackend, Rest};
use super::connections::Connections;
use super::connector::Connector;
use super::pooler;
use super::{AsyncProducerConnection, messages, statements};

/// Writes messages to an outbox in PostgreSQL, through the connection of the caller's transaction.
pub type AsyncPostgresWriter = super::AsyncDieselWriter<Pg>;
/// An outbox in PostgreSQL, for the relay and the operator.
pub type AsyncPostgresStore = super::AsyncDieselStore<AsyncPgConnection>;
/// The inbox of a consumer, in PostgreSQL.
pub type AsyncPostgresInbox = super::AsyncDieselInbox<Pg>;

impl AsyncBackend for AsyncPgConnection {
    type Database = Pg;

    /// What an operator sees in `pg_stat_activity`.
    const SETTINGS: &[&str] = &["SET application_name = 'outbox-relay'"];

    fn connector(url: &str) -> Result<Connector<Self>, StoreError> {
        // Its error may repeat a part of the URL.
        let config = url
            .parse()
            .ok()
            .filter(|config: &Config| !config.get_hosts().is_empty() || !config.get_hostaddrs().is_empty());
        let config = config.ok_or_else(|| {
            let text = "not a URL of PostgreSQL, such as postgres://user:password@host:5432/database";
            StoreError::new(StoreErrorKind::Invalid, "connect", text)
        })?;
        Ok(Connector::new(address(&config), move || connect(config.clone()).boxed()))
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

    fn examine(connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>> {
        pooler::refuse(connections).boxed()
    }
}

impl AsyncProducerConnection for AsyncPgConnection {
    type Database = Pg;

    /// It is carried out right after what was sent before, also if nobody waited for the end of that.
    const FAREWELL: Option<&'static str> = Some("ROLLBACK");
}

/// What `AsyncPgConnection::establish` does, except that it keeps the reason of a failure to itself.
async fn connect(config: Config) -> ConnectionResult<AsyncPgConnection> {
    let (client, connection) = config.connect(NoTls).await.map_err(connection_error)?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

fn connection_error(error: tokio_postgres::Error) -> ConnectionError {
    if let Some(error) = error.as_db_error() {
        let text = Box::new(error.message().to_owned());
        let error = Error::DatabaseError(DatabaseErrorKind::Unknown, text);
        return ConnectionError::CouldntSetupConfiguration(error);
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text = format!("{text}: {reason}");
        source = reason.source();
    }
    ConnectionError::BadConnection(text)
}

fn address(config: &Config) -> String {
    let database = config.get_dbname().or(config.get_user()).unwrap_or("(none)");
    let ports = config.get_ports();
    let port = |index| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| match host {
        Host::Tcp(host) => format!("{host}:{}", port(index)),
        #[cfg(unix)]
        Host::Unix(folder) => folder.display().to_string(),
    });
    let mut places: Vec<String> = hosts.collect();
    if places.is_empty() {
        let addresses = config.get_hostaddrs().iter().enumerate();
        places.extend(addresses.map(|(index, address)| format!("{address}:{}", port(index))));
    }
    format!("postgres database {database} at {}", places.join(", "))
}
