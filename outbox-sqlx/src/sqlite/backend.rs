use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use outbox_core::{StoreError, StoredMessage};
use outbox_sql::{Cell, Dialect, Value};
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{Arguments, Connection, Row, SqlStr, Sqlite, SqlitePool, Transaction};

use super::version;
use crate::Backend;
use crate::backend::{Bound, Rows};
use crate::connections::Connections;
use crate::decode::{self, Kind};

impl Backend for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;
    const SINGLE_WRITER: bool = true;
    const STOPS_READING: bool = true;

    fn arguments(values: Vec<Value<'_>>) -> Result<SqliteArguments, BoxDynError> {
        let mut arguments = SqliteArguments::default();
        for value in values {
            match value {
                Value::I64(value) => arguments.add(value)?,
                Value::Text(value) => arguments.add(value.as_deref())?,
                Value::Bytes(value) => arguments.add(value.as_deref())?,
                Value::Uuid(value) => arguments.add(value.as_ref().map(|uuid| &uuid.as_bytes()[..]))?,
                Value::I64Array(_) | Value::TextArray(_) | Value::BytesArray(_) | Value::UuidArray(_) => {
                    return Err("SQLite has no arrays".into());
                }
            }
        }
        Ok(arguments)
    }

    fn message(row: &SqliteRow) -> Result<StoredMessage, sqlx::Error> {
        decode::message(row)
    }

    fn cell(row: &SqliteRow, column: usize) -> Result<Cell, sqlx::Error> {
        decode::cell(row, column, |name| match name {
            "INTEGER" | "BOOLEAN" => Some(Kind::I64),
            "TEXT" => Some(Kind::Text),
            "BLOB" => Some(Kind::Bytes),
            _ => None,
        })
    }

    fn fetch(connection: &mut SqliteConnection, query: Bound<Self>) -> Rows<'_, Self> {
        query.fetch(connection)
    }

    fn execute(
        connection: &mut SqliteConnection,
        query: Bound<Self>,
    ) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        Box::pin(async move { Ok(query.execute(connection).await?.rows_affected()) })
    }

    fn script(connection: &mut SqliteConnection, sql: SqlStr) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(sql).execute_many(connection).map_ok(drop).try_collect().await })
    }

    /// A transaction that reads first and writes then fails at once when another has written in between; one that says
    /// from the beginning that it writes waits for its turn.
    fn begin(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<Transaction<'_, Self>, sqlx::Error>> {
        Box::pin(connection.begin_with("BEGIN IMMEDIATE"))
    }

    /// A database in memory has no file.
    fn only_in_pool(pool: &SqlitePool) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(async move {
            let databases = sqlx::query("PRAGMA database_list").fetch_all(pool).await?;
            let Some(main) = databases.first() else {
                return Ok(false);
            };
            Ok(main.try_get::<Option<&str>, _>(2)?.is_none_or(str::is_empty))
        })
    }

    fn examine(connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(version::check(connections))
    }

    fn address(options: &SqliteConnectOptions) -> String {
        format!("sqlite database {}", options.get_filename().display())
    }
}
