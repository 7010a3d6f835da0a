use anyhow::{Context, Result};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};

const NAME: &str = "outbox_peers";

/// An empty database for one run: nobody's tables are in the way of anybody else's.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) pool: PgPool,
}

impl Database {
    pub(crate) async fn fresh() -> Result<Self> {
        let server = server();
        let mut connection = PgConnection::connect(&server).await.context("PostgreSQL")?;
        connection.execute(format!("DROP DATABASE IF EXISTS {NAME} WITH (FORCE)").as_str()).await?;
        connection.execute(format!("CREATE DATABASE {NAME}").as_str()).await?;
        connection.close().await?;
        let start = server.find("://").map_or(0, |at| at + 3);
        let end = server[start..].find(['/', '?']).map_or(server.len(), |at| start + at);
        // Not encrypted: to connect would be most of what a short run measures, and only some connect within it.
        let url = format!("{}/{NAME}?sslmode=disable", &server[..end]);
        let pool = PgPoolOptions::new().max_connections(10).connect(&url).await?;
        Ok(Self { url, pool })
    }

    /// Runs statements that fill a table, and has written what that left to be written: it is not for a drain to pay.
    pub(crate) async fn fill(&self, sql: &str) -> Result<()> {
        self.pool.execute(sql).await?;
        self.pool.execute("VACUUM ANALYZE").await?;
        self.pool.execute("CHECKPOINT").await?;
        Ok(())
    }

    /// A connection beside the pool.
    pub(crate) async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// What a query says that counts.
    pub(crate) async fn count(&self, sql: &str) -> Result<i64> {
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    pub(crate) async fn remove(self) -> Result<()> {
        self.pool.close().await;
        let mut connection = PgConnection::connect(&server()).await?;
        connection.execute(format!("DROP DATABASE {NAME} WITH (FORCE)").as_str()).await?;
        Ok(connection.close().await?)
    }
}

pub(crate) async fn version() -> Result<String> {
    let mut connection = PgConnection::connect(&server()).await.context("PostgreSQL")?;
    let version = sqlx::query_scalar("SELECT current_setting('server_version')");
    Ok(version.fetch_one(&mut connection).await?)
}

fn server() -> String {
    let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
    url.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned())
}
