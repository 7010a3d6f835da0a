use std::time::Duration;

use anyhow::Result;
use outbox::OutboxAdmin;
use outbox::sqlx::SqliteStore;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

/// Opens the database at a URL, `sqlite:jobs.db`, and makes it and its tables if they are missing.
///
/// # Errors
///
/// If the URL is wrong, or its file can't be written.
pub async fn open(url: &str) -> Result<SqlitePool> {
    let options: SqliteConnectOptions = url.parse()?;
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30));
    // SQLite has one writer at a time.
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    // There is no column that says whether a job was published: the row of its message is that, and nothing else is. And
    // nothing but the inbox keeps `runs` from becoming 2.
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS jobs \
         (id INTEGER PRIMARY KEY AUTOINCREMENT, image TEXT NOT NULL, runs INTEGER NOT NULL DEFAULT 0)",
    )
    .execute(&pool)
    .await?;
    SqliteStore::new(&pool).migrate().await?;
    Ok(pool)
}
