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

/// No producer ever waits for a lock of a relay. Somebody on the server looks ten times a second: InnoDB tells no news more
/// often. The relays log in under names of their own.
const WATCH: &str = "
    CREATE TABLE held_up (
        at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), relay VARCHAR(100) NOT NULL, waiting TEXT
    );
    CREATE EVENT watch ON SCHEDULE EVERY 1 SECOND DO
    BEGIN
        DECLARE looks INT DEFAULT 0;
        WHILE looks < 9 DO
            INSERT INTO held_up (relay, waiting)
            SELECT holder.user, waiting.trx_query
            FROM information_schema.INNODB_LOCK_WAITS w
            JOIN information_schema.INNODB_TRX holding ON holding.trx_id = w.blocking_trx_id
            JOIN information_schema.INNODB_TRX waiting ON waiting.trx_id = w.requesting_trx_id
            JOIN information_schema.PROCESSLIST holder ON holder.id = holding.trx_mysql_thread_id
            JOIN information_schema.PROCESSLIST waiter ON waiter.id = waiting.trx_mysql_thread_id
            WHERE holder.user LIKE 'relay%' AND waiter.user NOT LIKE 'relay%';
            DO SLEEP(0.1);
            SET looks = looks + 1;
        END WHILE;
    END";

const USERS: &str = "
    CREATE USER IF NOT EXISTS relay0@'127.0.0.1';
    CREATE USER IF NOT EXISTS relay1@'127.0.0.1';
    GRANT ALL ON *.* TO relay0@'127.0.0.1', relay1@'127.0.0.1'";

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
            "--event-scheduler=ON",
        ];
        let prepare = [
            "mariadb-install-db",
            "--no-defaults",
            "--datadir={data}",
            "--auth-root-authentication-method=normal",
        ];
        let mariadb = Self { server: Server::new("mariadbd", &arguments, "mysql", &prepare)? };
        Store::start(&mariadb).await?;
        let mut server = mariadb.connect_to("mysql").await?;
        sqlx::raw_sql(USERS).execute(&mut server).await?;
        Ok(mariadb)
    }

    fn address(&self, user: &str, port: u16, database: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{port}/{database}?ssl-mode=disabled")
    }

    async fn connect_to(&self, database: &str) -> Result<MySqlConnection> {
        let url = self.address("root", self.server.port, database);
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

    fn url(&self, client: Client, port: u16) -> String {
        let user = match client {
            Client::Relay(number) => format!("relay{number}"),
            Client::Producer | Client::Consumer => "root".to_owned(),
        };
        self.address(&user, port, "chaos")
    }

    async fn reset(&self) -> Result<()> {
        let mut server = self.connect_to("mysql").await?;
        sqlx::raw_sql("DROP DATABASE IF EXISTS chaos").execute(&mut server).await?;
        sqlx::raw_sql("CREATE DATABASE chaos").execute(&mut server).await?;
        MySqlStore::from_url(&self.address("root", self.server.port, "chaos"))?.migrate().await?;
        let mut connection = self.connect().await?;
        make_tables(&mut connection).await?;
        sqlx::raw_sql(WATCH).execute(&mut connection).await?;
        Ok(())
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

    async fn held_up(&self) -> Result<Option<String>> {
        let sql = "SELECT CONCAT(MIN(relay), ' held up a transaction of a producer, seen ', COUNT(*), ' times: ', \
                   COALESCE(MIN(waiting), '')) FROM held_up HAVING COUNT(*) > 0";
        Ok(sqlx::query_scalar(sql).fetch_optional(&mut self.connect().await?).await?)
    }

    fn log(&self) -> Option<PathBuf> {
        Some(self.server.log())
    }
}
