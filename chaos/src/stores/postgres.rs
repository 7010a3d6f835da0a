use std::path::PathBuf;
use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use outbox::OutboxAdmin as _;
use outbox::sqlx::{PostgresInbox, PostgresStore, PostgresWriter};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection, PgPool};

use super::client::Sql;
use super::server::Server;
use super::{Client, Progress, Records, Store};

const SQL: Sql = Sql {
    tables: "
        CREATE TABLE accounts (account text PRIMARY KEY, version bigint NOT NULL);
        CREATE TABLE audit (
            place bigserial, id text PRIMARY KEY, account text, version bigint NOT NULL, topic text NOT NULL,
            payload bytea NOT NULL, refused bigint NOT NULL
        );
        CREATE TABLE effects (place bigserial, id text NOT NULL, worker bigint NOT NULL);",
    add_account: "INSERT INTO accounts (account, version) VALUES ($1, 0)",
    count_up: "UPDATE accounts SET version = version + 1 WHERE account = $1",
    version: "SELECT version FROM accounts WHERE account = $1",
    audit: "INSERT INTO audit (id, account, version, topic, payload, refused) VALUES ($1, $2, $3, $4, $5, $6)",
    effect: "INSERT INTO effects (id, worker) VALUES ($1, $2)",
    dead_letters: "SELECT replace(id::text, '-', ''), topic, reason, payload FROM outbox_dead_letters",
};

/// Who takes a row out of the outbox must own its shard at that moment. The relays log in under names of their own, and are
/// known to the outbox by the same names.
const GUARD: &str = "
    CREATE TABLE stolen (at timestamptz NOT NULL DEFAULT clock_timestamp(), relay text NOT NULL, rows bigint NOT NULL);
    CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        strangers bigint;
    BEGIN
        SELECT count(*) INTO strangers
        FROM gone g
        JOIN outbox_shards s ON s.shard = hashtextextended(coalesce(g.ordering_key, g.id::text), 0)
            & ((SELECT count(*) FROM outbox_shards) - 1)
        LEFT JOIN outbox_relays r ON r.relay = s.owner
        WHERE r.label IS DISTINCT FROM session_user::text;
        IF strangers > 0 THEN
            INSERT INTO stolen (relay, rows) VALUES (session_user, strangers);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER guard AFTER DELETE ON outbox_messages REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION guard();";

const ROLES: &str = "
    DO $$ BEGIN
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'relay0') THEN
            CREATE ROLE relay0 LOGIN SUPERUSER;
            CREATE ROLE relay1 LOGIN SUPERUSER;
        END IF;
    END $$";

client!(
    SQL, PgConnection, PgPool, PgConnectOptions, PostgresWriter, PostgresInbox, PostgresStore,
    begin: |connection| connection.begin()
);

pub(super) struct Postgres {
    server: Server,
}

impl Postgres {
    pub(super) async fn start() -> Result<Self> {
        // What a killed process has handed to the kernel is not lost, so nothing waits for the disk.
        let arguments = [
            "-D",
            "{data}",
            "-p",
            "{port}",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "shared_buffers=64MB",
            "-c",
            "max_wal_size=256MB",
        ];
        let prepare = [
            "initdb",
            "--pgdata={data}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ];
        let postgres = Self { server: Server::new("postgres", &arguments, "postgres", &prepare)? };
        Store::start(&postgres).await?;
        let mut connection = postgres.connect_to("postgres").await?;
        sqlx::raw_sql(ROLES).execute(&mut connection).await?;
        Ok(postgres)
    }

    fn address(&self, user: &str, port: u16, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    async fn connect_to(&self, database: &str) -> Result<PgConnection> {
        let url = self.address("postgres", self.server.port, database);
        let options = PgConnectOptions::from_str(&url)?.disable_statement_logging();
        options.connect().await.context("PostgreSQL does not answer")
    }

    async fn connect(&self) -> Result<PgConnection> {
        self.connect_to("chaos").await
    }
}

#[async_trait]
impl Store for Postgres {
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
            Client::Producer | Client::Consumer => "postgres".to_owned(),
        };
        self.address(&user, port, "chaos")
    }

    async fn reset(&self) -> Result<()> {
        let mut server = self.connect_to("postgres").await?;
        sqlx::raw_sql("DROP DATABASE IF EXISTS chaos WITH (FORCE)").execute(&mut server).await?;
        sqlx::raw_sql("CREATE DATABASE chaos TEMPLATE template0").execute(&mut server).await?;
        PostgresStore::from_url(&self.address("postgres", self.server.port, "chaos"))?.migrate().await?;
        let mut connection = self.connect().await?;
        make_tables(&mut connection).await?;
        sqlx::raw_sql(GUARD).execute(&mut connection).await?;
        Ok(())
    }

    async fn kill(&self) -> Result<()> {
        self.server.kill()
    }

    async fn stop(&self) -> Result<()> {
        self.server.stop("-INT").await
    }

    async fn start(&self) -> Result<()> {
        self.server.start(|| self.connect_to("postgres")).await
    }

    async fn stolen(&self) -> Result<Option<i64>> {
        let sql = "SELECT coalesce(sum(rows), 0)::bigint FROM stolen";
        number(&mut self.connect().await?, sql).await.map(Some)
    }

    fn log(&self) -> Option<PathBuf> {
        Some(self.server.log())
    }
}
