use futures_util::future::BoxFuture;
use outbox_core::StoreError;
use outbox_sql::Dialect;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, Row, Sqlite, SqlitePool};
use sea_orm::{DatabaseConnection, SqlxSqliteConnector};

use super::version;
use crate::connections::Connections;
use crate::decode::Kind;
use crate::query::safe;
use crate::server::{Backend, Seen};

impl Backend for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;

    fn address(options: &SqliteConnectOptions) -> String {
        format!("sqlite database {}", options.get_filename().display())
    }

    /// A database in memory has no file. The pool is asked only if there is none to be seen: sea-orm's pool has a single
    /// connection by default, and the user's code may hold it.
    fn look(pool: &SqlitePool) -> BoxFuture<'_, Result<Seen, sqlx::Error>> {
        Box::pin(async move {
            if pool.connect_options().get_filename().is_file() {
                return Ok(Seen::default());
            }
            let databases = sqlx::raw_sql("PRAGMA database_list").fetch_all(pool).await?;
            let file = match databases.first() {
                Some(main) => main.try_get::<Option<&str>, _>(2)?,
                None => None,
            };
            Ok(Seen { only_in_pool: file.is_none_or(str::is_empty), settings: Vec::new() })
        })
    }

    fn run(connection: &mut SqliteConnection, sql: String) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(safe(sql)).execute(connection).await.map(drop) })
    }

    fn wrap(pool: SqlitePool) -> DatabaseConnection {
        SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)
    }

    fn examine(connections: &Connections) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(version::check(connections))
    }
}

/// What a value of a small result is read as.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    match name {
        "INTEGER" | "BOOLEAN" => Some(Kind::I64),
        "TEXT" => Some(Kind::Text),
        "BLOB" => Some(Kind::Bytes),
        _ => None,
    }
}
