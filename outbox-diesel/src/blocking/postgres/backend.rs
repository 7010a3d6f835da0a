use diesel::QueryResult;
use diesel::connection::DefaultLoadingMode;
use diesel::pg::{Pg, PgConnection, PgRowByRowLoadingMode};
use futures_util::future::BoxFuture;
use outbox_core::{Claim, StoreError};
use outbox_sql::{Row, Statement};

use super::pooler;
use crate::blocking::backend::BlockingBackend;
use crate::blocking::connections::Connections;
use crate::blocking::origin::Origin;
use crate::blocking::read;
use crate::url::{DatabaseUrl, decoded};

/// What libpq is told unless the URL says otherwise: a thread that waits for a server which is no more must end.
const DEFAULTS: &str =
    "connect_timeout=10&keepalives_idle=10&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=25000";
/// What an operator sees in `pg_stat_activity`.
const APPLICATION: &str = "application_name=outbox-relay";

impl BlockingBackend for PgConnection {
    type Database = Pg;

    fn origin(url: &str) -> Result<Origin, StoreError> {
        let parts = DatabaseUrl::parse(url, &["postgres", "postgresql"])?;
        let database = parts
            .parameter("dbname")
            .unwrap_or_else(|| decoded(if parts.database.is_empty() { parts.user } else { parts.database }));
        let address = format!("postgres database {database} at {}", parts.at("localhost", "5432"));
        // Of a parameter that is there twice libpq takes the last.
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let query = [DEFAULTS, query, APPLICATION].into_iter().filter(|part| !part.is_empty());
        let url = format!("{base}?{}", query.collect::<Vec<_>>().join("&"));
        Ok(Origin { url, address, secrets: parts.secrets() })
    }

    /// Row by row: the rest of a large result is never in memory.
    fn messages(&mut self, statement: Statement<'_>, limit: usize, max_bytes: usize) -> QueryResult<Claim> {
        read::messages::<PgRowByRowLoadingMode, _>(self, statement, limit, max_bytes)
    }

    fn rows(&mut self, statement: Statement<'_>) -> QueryResult<Vec<Row>> {
        read::rows::<DefaultLoadingMode, _>(self, statement)
    }

    fn examine(connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(pooler::refuse(connections))
    }
}
