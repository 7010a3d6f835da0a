use outbox_core::MessageId;
use sqlx::any::install_default_drivers;
use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::Order;

/// A database server, and its words for making and removing a database.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    pub(crate) name: &'static str,
    /// The variable with its URL, and the URL where it is not set.
    variable: &'static str,
    default_url: &'static str,
    create: &'static str,
    /// Also while somebody is connected.
    remove: &'static str,
}

/// PostgreSQL.
pub const POSTGRES: Server = Server {
    name: "postgres",
    variable: "OUTBOX_TEST_POSTGRES_URL",
    default_url: "postgres://postgres@127.0.0.1:5432/postgres",
    create: "CREATE DATABASE {name} TEMPLATE template0",
    remove: "DROP DATABASE {name} WITH (FORCE)",
};

/// MariaDB or MySQL.
pub const MARIADB: Server = Server {
    name: "mariadb",
    variable: "OUTBOX_TEST_MYSQL_URL",
    default_url: "mysql://root@127.0.0.1:3306",
    create: "CREATE DATABASE {name} CHARACTER SET utf8mb4",
    remove: "DROP DATABASE {name}",
};

/// A database of its own, gone when it is dropped.
pub(crate) struct Database {
    runtime: Runtime,
    server: Server,
    server_url: Url,
    name: String,
}

impl Database {
    /// `None` if there is no server.
    pub(crate) fn create(server: &Server) -> Option<Self> {
        install_default_drivers();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let server_url = std::env::var(server.variable);
        let server_url: Url = server_url.as_deref().unwrap_or(server.default_url).parse().unwrap();
        let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
        runtime.block_on(async {
            let mut connection = AnyConnection::connect(server_url.as_str()).await.ok()?;
            let create = AssertSqlSafe(server.create.replace("{name}", &name));
            sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
            Some(())
        })?;
        Some(Self { runtime, server: *server, server_url, name })
    }

    pub(crate) fn url(&self) -> String {
        let mut url = self.server_url.clone();
        url.set_path(&self.name);
        url.into()
    }

    pub(crate) fn orders(&self, sql: &str) -> Vec<Order> {
        let rows: Vec<(i64, String, i64)> = self.runtime.block_on(async {
            let mut connection = AnyConnection::connect(&self.url()).await.unwrap();
            sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap()
        });
        rows.into_iter().map(|(order, customer, total)| Order { order, customer, total }).collect()
    }

    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.runtime.block_on(async {
            let mut connection = AnyConnection::connect(&self.url()).await.unwrap();
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap()
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let remove = AssertSqlSafe(self.server.remove.replace("{name}", &self.name));
        let removed = self.runtime.block_on(async {
            let mut connection = AnyConnection::connect(self.server_url.as_str()).await?;
            sqlx::raw_sql(remove).execute(&mut connection).await
        });
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}
