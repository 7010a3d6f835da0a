use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use outbox::OutboxAdmin as _;
use outbox::sqlx::{SqliteInbox, SqliteStore, SqliteWriter};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection, SqlitePool};
use tempfile::TempDir;

use super::client::Sql;
use super::{Client, Progress, Records, Store};

const SQL: Sql = Sql {
    tables: "
        CREATE TABLE accounts (account TEXT PRIMARY KEY, version INTEGER NOT NULL);
        CREATE TABLE audit (
            place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, account TEXT, version INTEGER NOT NULL,
            topic TEXT NOT NULL, payload BLOB NOT NULL, refused INTEGER NOT NULL
        );
        CREATE TABLE effects (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, worker INTEGER NOT NULL);",
    add_account: "INSERT INTO accounts (account, version) VALUES (?, 0)",
    count_up: "UPDATE accounts SET version = version + 1 WHERE account = ?",
    version: "SELECT version FROM accounts WHERE account = ?",
    audit: "INSERT INTO audit (id, account, version, topic, payload, refused) VALUES (?, ?, ?, ?, ?, ?)",
    effect: "INSERT INTO effects (id, worker) VALUES (?, ?)",
    dead_letters: "SELECT lower(hex(id)), topic, reason, payload FROM outbox_dead_letters",
};

// Deferred transactions that read first can't write any more when another one has written.
client!(
    SQL, SqliteConnection, SqlitePool, SqliteConnectOptions, SqliteWriter, SqliteInbox, SqliteStore,
    begin: |connection| connection.begin_with("BEGIN IMMEDIATE")
);

pub(super) struct Sqlite {
    folder: TempDir,
}

impl Sqlite {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("outbox-chaos-").tempdir()? })
    }

    fn address(&self) -> String {
        format!("sqlite://{}/chaos.db?mode=rwc", self.folder.path().display())
    }

    async fn connect(&self) -> Result<SqliteConnection> {
        let options = SqliteConnectOptions::from_str(&self.address())?.disable_statement_logging();
        options.connect().await.context("the file can't be opened")
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn progress(&self) -> Result<Progress> {
        read_progress(&mut self.connect().await?).await
    }

    async fn records(&self) -> Result<Records> {
        read_records(&mut self.connect().await?).await
    }

    fn port(&self) -> Option<u16> {
        None
    }

    fn url(&self, _: Client, _: u16) -> String {
        self.address()
    }

    async fn reset(&self) -> Result<()> {
        for name in ["chaos.db", "chaos.db-wal", "chaos.db-shm"] {
            let removed = std::fs::remove_file(self.folder.path().join(name));
            if let Err(error) = removed
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(error.into());
            }
        }
        SqliteStore::from_url(&self.address())?.migrate().await?;
        make_tables(&mut self.connect().await?).await
    }

    async fn kill(&self) -> Result<()> {
        Ok(())
    }

    async fn stop(&self) -> Result<()> {
        Ok(())
    }

    async fn start(&self) -> Result<()> {
        Ok(())
    }
}
