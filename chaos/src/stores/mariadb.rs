use std::path::PathBuf;
use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use outbox::OutboxAdmin as _;
use outbox::sqlx::{MySqlInbox, MySqlStore, MySqlWriter};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions as _, MySqlConnection, MySqlPool};

use super::client::Sql;
use super::server::Server;
use super::{Client, Progress, Records, Store};

const SQL: Sql = Sql {
    tables: "
        CREATE TABLE accounts (account VARCHAR(100) CHARACTER SET utf8mb4 NOT NULL PRIMARY KEY, version BIGINT NOT NULL);
        CREATE TABLE audit (
            place BIGINT AUTO_INCREMENT PRIMARY KEY, id VARCHAR(32) CHARACTER SET utf8mb4 NOT NULL UNIQUE,
            account VARCHAR(100) CHARACTER SET utf8mb4, version BIGINT NOT NULL,
            topic VARCHAR(100) CHARACTER SET utf8mb4 NOT NULL, payload MEDIUMBLOB NOT NULL, refused BIGINT NOT NULL
        );
        CREATE TABLE effects (
            place BIGINT AUTO_INCREMENT PRIMARY KEY, id VARCHAR(32) CHARACTER SET utf8mb4 NOT NULL,
            worker BIGINT NOT NULL
        );",
    add_account: "INSERT INTO accounts (account, version) VALUES (?, 0)",
    count_up: "UPDATE accounts SET version = version + 1 WHERE account = ?",
    version: "SELECT version FROM accounts WHERE account = ?",
    audit: "INSERT INTO audit (id, account, version, topic, payload, refused) VALUES (?, ?, ?, ?, ?, ?)",
    effect: "INSERT INTO effects (id, worker) VALUES (?, ?)",
    dead_letters: "SELECT LOWER(HEX(id)), topic, reason, payload FROM outbox_dead_letters",
};

client!(
    SQL, MySqlConnection, MySqlPool, MySqlConnectOptions, MySqlWriter, MySqlInbox, MySqlStore,
    begin: |connection| connection.begin()
);

pub(super) struct Mariadb {
    server: Server,
}

impl Mariadb {
    pub(super) async fn start() -> Result<Self> {
        let arguments = [
            "--no-defaults",
            "--datadir={data}",
            "--port={port}",
            "--bind-address=127.0.0.1",
            "--socket={data}/mariadb.sock",
            "--pid-file={data}/mariadb.pid",
            // What a killed process has handed to the kernel is not lost.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=64M",
        ];
        let prepare = [
            "mariadb-install-db",
            "--no-defaults",
            "--datadir={data}",
            "--auth-root-authentication-method=normal",
        ];
        let mariadb = Self { server: Server::new("mariadbd", &arguments, "mysql", &prepare)? };
        Store::start(&mariadb).await?;
        Ok(mariadb)
    }

    fn address(&self, port: u16, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{port}/{database}?ssl-mode=disabled")
    }

    async fn connect_to(&self, database: &str) -> Result<MySqlConnection> {
        let url = self.address(self.server.port, database);
        let options = MySqlConnectOptions::from_str(&url)?.disable_statement_logging();
        options.connect().await.context("MariaDB does not answer")
    }

    async fn connect(&self) -> Result<MySqlConnection> {
        self.connect_to("chaos").await
    }
}

#[async_trait]
impl Store for Mariadb {
    async fn progress(&self) -> Result<Progress> {
        read_progress(&mut self.connect().await?).await
    }

    async fn records(&self) -> Result<Records> {
        read_records(&mut self.connect().await?).await
    }

    fn port(&self) -> Option<u16> {
        Some(self.server.port)
    }

    fn url(&self, _: Client, port: u16) -> String {
        self.address(port, "chaos")
    }

    async fn reset(&self) -> Result<()> {
        let mut server = self.connect_to("mysql").await?;
        sqlx::raw_sql("DROP DATABASE IF EXISTS chaos").execute(&mut server).await?;
        sqlx::raw_sql("CREATE DATABASE chaos").execute(&mut server).await?;
        MySqlStore::from_url(&self.address(self.server.port, "chaos"))?.migrate().await?;
        make_tables(&mut self.connect().await?).await
    }

    async fn kill(&self) -> Result<()> {
        self.server.kill()
    }

    async fn stop(&self) -> Result<()> {
        self.server.stop("-TERM").await
    }

    async fn start(&self) -> Result<()> {
        self.server.start(|| self.connect_to("mysql")).await
    }

    fn log(&self) -> Option<PathBuf> {
        Some(self.server.log())
    }
}
