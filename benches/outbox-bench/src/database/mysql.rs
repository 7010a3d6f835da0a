use anyhow::{Context, Result};
use outbox_core::OutboxAdmin;
use outbox_sql::{Dialect, TableNames};
use outbox_sqlx::MySqlStore;
use sqlx::mysql::{MySql, MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, raw_sql};

use super::{Database, NAME};

#[derive(Debug)]
pub(crate) struct MySqlDatabase {
    url: String,
    connection: MySqlConnection,
}

impl Database for MySqlDatabase {
    const NAME: &'static str = "mariadb";
    type Driver = MySql;

    async fn fresh() -> Result<Self> {
        let url = std::env::var("OUTBOX_TEST_MYSQL_URL");
        let url = url.unwrap_or_else(|_| "mysql://root@127.0.0.1:3306/test".to_owned());
        // The database in the URL need not exist.
        let options = url.parse::<MySqlConnectOptions>()?.database("information_schema");
        let mut connection = MySqlConnection::connect_with(&options).await.context("MariaDB")?;
        for setting in Dialect::MySql.session_settings() {
            connection.execute(*setting).await?;
        }
        let create = format!("DROP DATABASE IF EXISTS {NAME}; CREATE DATABASE {NAME}; USE {NAME}");
        raw_sql(AssertSqlSafe(create)).execute(&mut connection).await?;
        let database = Self { url, connection };
        database.store()?.migrate().await?;
        Ok(database)
    }

    fn store(&self) -> Result<MySqlStore> {
        let names = TableNames::new(Some(NAME), "")?;
        let mut url = self.url.clone();
        if let Some(start) = url.find("://").and_then(|at| url[at + 3..].find('/').map(|end| at + 3 + end)) {
            url.truncate(start);
            url += "/information_schema";
        }
        Ok(MySqlStore::from_url_with_names(&url, names)?)
    }

    fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }

    /// There is no such command. InnoDB writes behind, at its own pace.
    async fn checkpoint(&mut self) -> Result<()> {
        Ok(())
    }

    async fn version(&mut self) -> Result<String> {
        Ok(sqlx::query_scalar("SELECT version()").fetch_one(&mut self.connection).await?)
    }

    async fn remove(mut self) -> Result<()> {
        let remove = format!("DROP DATABASE {NAME}");
        raw_sql(AssertSqlSafe(remove)).execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }
}
