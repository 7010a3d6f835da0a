use anyhow::{Context, Result};
use outbox::sqlx::PostgresStore;
use outbox::{MessageId, OutboxAdmin as _};
use sqlx::migrate::MigrateDatabase;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres};
use url::Url;

/// A database of a run's own, with the tables of the outbox.
#[derive(Debug)]
pub struct Database {
    url: String,
    pool: PgPool,
}

impl Database {
    /// Makes it on the server at this URL.
    ///
    /// # Errors
    ///
    /// If there is no server, or it refuses.
    pub async fn create(server: &str) -> Result<Self> {
        let mut url: Url = server.parse().context("the URL of the database")?;
        url.set_path(&format!("direct_first_{}", MessageId::new().as_uuid().simple()));
        let url = String::from(url);
        Postgres::create_database(&url).await?;
        let pool = PgPoolOptions::new().max_connections(20).connect(&url).await?;
        PostgresStore::new(&pool).migrate().await?;
        Ok(Self { url, pool })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connections of the service.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Messages in the outbox, and in its dead letters.
    ///
    /// # Errors
    ///
    /// The database's.
    pub async fn left(&self) -> Result<u64> {
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM outbox_messages) + (SELECT count(*) FROM outbox_deferred) \
             + (SELECT count(*) FROM outbox_dead_letters)",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(u64::try_from(left)?)
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// The database's.
    pub async fn remove(self) -> Result<()> {
        self.pool.close().await;
        Ok(Postgres::force_drop_database(&self.url).await?)
    }
}
