use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use outbox_core::StoredMessage;
use outbox_sql::{Cell, Dialect, Value};
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{Arguments, MySql, SqlStr};

use crate::Backend;
use crate::backend::{Bound, Rows};
use crate::decode::{self, Kind};

impl Backend for MySql {
    const DIALECT: Dialect = Dialect::MySql;
    const KEEPS_STATEMENTS: bool = true;
    const CLOSES_UNFINISHED: bool = true;

    fn arguments(values: Vec<Value<'_>>) -> Result<MySqlArguments, BoxDynError> {
        let mut arguments = MySqlArguments::default();
        for value in values {
            match value {
                Value::I64(value) => arguments.add(value)?,
                Value::Text(value) => arguments.add(value.as_deref())?,
                Value::Bytes(value) => arguments.add(value.as_deref())?,
                Value::Uuid(value) => arguments.add(value.as_ref().map(|uuid| &uuid.as_bytes()[..]))?,
                Value::I64Array(_) | Value::TextArray(_) | Value::BytesArray(_) | Value::UuidArray(_) => {
                    return Err("MySQL has no arrays".into());
                }
            }
        }
        Ok(arguments)
    }

    fn message(row: &MySqlRow) -> Result<StoredMessage, sqlx::Error> {
        decode::message(row)
    }

    fn cell(row: &MySqlRow, column: usize) -> Result<Cell, sqlx::Error> {
        decode::cell(row, column, |name| match name.strip_suffix(" UNSIGNED").unwrap_or(name) {
            "BIGINT" | "INT" | "MEDIUMINT" | "SMALLINT" | "TINYINT" | "BOOLEAN" => Some(Kind::I64),
            "VARCHAR" | "CHAR" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" | "JSON" | "ENUM" => {
                Some(Kind::Text)
            }
            "VARBINARY" | "BINARY" | "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" => Some(Kind::Bytes),
            _ => None,
        })
    }

    fn fetch(connection: &mut MySqlConnection, query: Bound<Self>) -> Rows<'_, Self> {
        query.fetch(connection)
    }

    fn execute(
        connection: &mut MySqlConnection,
        query: Bound<Self>,
    ) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        Box::pin(async move { Ok(query.execute(connection).await?.rows_affected()) })
    }

    fn script(connection: &mut MySqlConnection, sql: SqlStr) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(sql).execute_many(connection).map_ok(drop).try_collect().await })
    }

    fn address(options: &MySqlConnectOptions) -> String {
        let database = options.get_database().unwrap_or("(none)");
        match options.get_socket() {
            Some(socket) => format!("mysql database {database} at {}", socket.display()),
            None => format!("mysql database {database} at {}:{}", options.get_host(), options.get_port()),
        }
    }
}
