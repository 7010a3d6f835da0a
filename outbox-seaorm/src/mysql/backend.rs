use futures_util::future::BoxFuture;
use outbox_sql::Dialect;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sea_orm::sqlx::{self, MySql, MySqlPool};
use sea_orm::{DatabaseConnection, SqlxMySqlConnector};

use crate::decode::Kind;
use crate::query::safe;
use crate::server::Backend;

impl Backend for MySql {
    const DIALECT: Dialect = Dialect::MySql;

    fn address(options: &MySqlConnectOptions) -> String {
        let database = options.get_database().unwrap_or("(none)");
        match options.get_socket() {
            Some(socket) => format!("mysql database {database} at {}", socket.display()),
            None => format!("mysql database {database} at {}:{}", options.get_host(), options.get_port()),
        }
    }

    fn run(connection: &mut MySqlConnection, sql: String) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(safe(sql)).execute(connection).await.map(drop) })
    }

    fn wrap(pool: MySqlPool) -> DatabaseConnection {
        SqlxMySqlConnector::from_sqlx_mysql_pool(pool)
    }
}

/// What a value of a small result is read as.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    match name.strip_suffix(" UNSIGNED").unwrap_or(name) {
        "BIGINT" | "INT" | "MEDIUMINT" | "SMALLINT" | "TINYINT" | "BOOLEAN" => Some(Kind::I64),
        "VARCHAR" | "CHAR" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" | "JSON" | "ENUM" => {
            Some(Kind::Text)
        }
        "VARBINARY" | "BINARY" | "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" => Some(Kind::Bytes),
        _ => None,
    }
}
