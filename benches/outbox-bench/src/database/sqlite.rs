use anyhow::{Context, Result};
use outbox_core::OutboxAdmin;
use outbox_sql::Dialect;
use outbox_sqlx::SqliteStore;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};
use tempfile::TempDir;

use super::{Database, NAME};
use crate::workload::BATCH;

#[derive(Debug)]
pub(crate) struct SqliteDatabase {
    connection: SqliteConnection,
    url: String,
    folder: TempDir,
}

impl Database for SqliteDatabase {
    const NAME: &'static str = "sqlite";
    type Driver = Sqlite;

    async fn fresh() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join(NAME);
        let url = format!("sqlite:{}", file.to_str().context("the temporary folder is not named in UTF-8")?);
        // A batch crosses from the client's thread in one go.
        let options = SqliteConnectOptions::new().filename(&file).row_buffer_size(BATCH);
        let mut connection = SqliteConnection::connect_with(&options.create_if_missing(true)).await?;
        for setting in Dialect::Sqlite.session_settings() {
            connection.execute(*setting).await?;
        }
        let database = Self { connection, url, folder };
        database.store()?.migrate().await?;
        Ok(database)
    }

    fn store(&self) -> Result<SqliteStore> {
        Ok(SqliteStore::from_url(&self.url)?)
    }

    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    async fn checkpoint(&mut self) -> Result<()> {
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        Ok(())
    }

    async fn version(&mut self) -> Result<String> {
        Ok(sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut self.connection).await?)
    }

    async fn remove(self) -> Result<()> {
        self.connection.close().await?;
        Ok(self.folder.close()?)
    }
}
