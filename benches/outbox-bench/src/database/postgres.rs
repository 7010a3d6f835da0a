use anyhow::{Context, Result};
use outbox_core::OutboxAdmin;
use outbox_sql::{Dialect, TableNames};
use outbox_sqlx::PostgresStore;
use sqlx::postgres::{PgConnectOptions, PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Connection, Executor, raw_sql};

use super::{Database, NAME};

#[derive(Debug)]
pub(crate) struct PostgresDatabase {
    url: String,
    connection: PgConnection,
}

/// Without encryption on the way, unless the URL says something else: a server that offers it would have all sides encrypt
/// on one machine, and a client read the system's certificates for each connection, in 60 to 190 ms.
fn plain(url: String) -> String {
    if url.contains("sslmode=") {
        return url;
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}sslmode=disable")
}

impl PostgresDatabase {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// With the tables as they are.
    pub(crate) async fn existing() -> Result<Self> {
        let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
        let url = url.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned());
        let url = plain(url);
        let mut connection = PgConnection::connect_with(&options(&url)?).await.context("PostgreSQL")?;
        for setting in Dialect::Postgres.session_settings() {
            connection.execute(*setting).await?;
        }
        Ok(Self { url, connection })
    }

    /// One more connection, as somebody else would open it.
    pub(crate) async fn foreign_connection(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect_with(&options(&self.url)?).await?)
    }

    /// One more connection with the settings that the relay gives its own.
    pub(crate) async fn another_connection(&self) -> Result<PgConnection> {
        let mut connection = self.foreign_connection().await?;
        for setting in Dialect::Postgres.session_settings() {
            connection.execute(*setting).await?;
        }
        Ok(connection)
    }
}

impl Database for PostgresDatabase {
    const NAME: &'static str = "postgres";
    type Driver = Postgres;

    async fn fresh() -> Result<Self> {
        let Self { url, mut connection } = Self::existing().await?;
        let create = format!("DROP SCHEMA IF EXISTS {NAME} CASCADE; CREATE SCHEMA {NAME}");
        raw_sql(AssertSqlSafe(create)).execute(&mut connection).await?;
        let database = Self { url, connection };
        database.store()?.migrate().await?;
        Ok(database)
    }

    fn store(&self) -> Result<PostgresStore> {
        let names = TableNames::new(Some(NAME), "")?;
        Ok(PostgresStore::from_url_with_names(&self.url, names)?)
    }

    fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    async fn checkpoint(&mut self) -> Result<()> {
        self.connection.execute("CHECKPOINT").await?;
        Ok(())
    }

    async fn version(&mut self) -> Result<String> {
        let version = sqlx::query_scalar("SELECT current_setting('server_version')");
        Ok(version.fetch_one(&mut self.connection).await?)
    }

    async fn remove(mut self) -> Result<()> {
        let remove = format!("DROP SCHEMA {NAME} CASCADE");
        raw_sql(AssertSqlSafe(remove)).execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }
}

fn options(url: &str) -> Result<PgConnectOptions> {
    Ok(url.parse::<PgConnectOptions>()?.options([("search_path", NAME)]))
}
