use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use outbox_core::{StoreError, StoredMessage};
use outbox_sql::{Cell, Dialect, Value};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{Arguments, Postgres, SqlStr};

use super::pooler;
use crate::Backend;
use crate::backend::{Bound, Rows};
use crate::connections::Connections;
use crate::decode::{self, Kind};

/// What an operator sees in `pg_stat_activity`.
pub(crate) const APPLICATION: &str = "outbox-relay";

impl Backend for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;

    fn arguments(values: Vec<Value<'_>>) -> Result<PgArguments, BoxDynError> {
        let mut arguments = PgArguments::default();
        for value in values {
            match value {
                Value::I64(value) => arguments.add(value)?,
                Value::Text(value) => arguments.add(value.as_deref())?,
                Value::Bytes(value) => arguments.add(value.as_deref())?,
                Value::Uuid(value) => arguments.add(value)?,
                Value::I64Array(values) => arguments.add(values)?,
                Value::TextArray(values) => arguments.add(values)?,
                Value::BytesArray(values) => {
                    arguments.add(values.iter().map(|value| &**value).collect::<Vec<&[u8]>>())?;
                }
                Value::UuidArray(values) => arguments.add(values)?,
            }
        }
        Ok(arguments)
    }

    fn message(row: &PgRow) -> Result<StoredMessage, sqlx::Error> {
        decode::message(row)
    }

    fn cell(row: &PgRow, column: usize) -> Result<Cell, sqlx::Error> {
        decode::cell(row, column, |name| match name {
            "INT8" | "INT4" | "INT2" => Some(Kind::I64),
            "TEXT" | "VARCHAR" | "NAME" => Some(Kind::Text),
            "BYTEA" | "UUID" => Some(Kind::Bytes),
            _ => None,
        })
    }

    fn fetch(connection: &mut PgConnection, query: Bound<Self>) -> Rows<'_, Self> {
        query.fetch(connection)
    }

    fn execute(connection: &mut PgConnection, query: Bound<Self>) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        Box::pin(async move { Ok(query.execute(connection).await?.rows_affected()) })
    }

    fn script(connection: &mut PgConnection, sql: SqlStr) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(sql).execute_many(connection).map_ok(drop).try_collect().await })
    }

    fn relay_options(options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().application_name(APPLICATION)
    }

    fn examine(connections: &Connections<Self>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(pooler::refuse(connections))
    }

    fn address(options: &PgConnectOptions) -> String {
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        match options.get_socket() {
            Some(socket) => format!("postgres database {database} at {}", socket.display()),
            None => format!("postgres database {database} at {}:{}", options.get_host(), options.get_port()),
        }
    }
}
