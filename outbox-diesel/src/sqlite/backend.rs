use diesel::QueryResult;
use diesel::deserialize;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteType, SqliteValue};
use outbox_sql::{Cell, Dialect, Value};

use crate::Backend;
use crate::backend::{no_arrays, text};

impl Backend for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;

    fn bind<'b>(value: &'b Value<'_>, out: &mut AstPass<'_, 'b, Self>) -> QueryResult<()> {
        match value {
            Value::I64(value) => out.push_bind_param_value_only::<Nullable<BigInt>, _>(value),
            Value::Text(value) => out.push_bind_param_value_only::<Nullable<Text>, _>(value),
            Value::Bytes(value) => out.push_bind_param_value_only::<Nullable<Binary>, _>(value),
            Value::Uuid(Some(value)) => {
                out.push_bind_param_value_only::<Binary, [u8]>(value.as_bytes().as_slice())
            }
            Value::Uuid(None) => out.push_bind_param_value_only::<Nullable<Binary>, _>(&None::<Vec<u8>>),
            Value::I64Array(_) | Value::TextArray(_) | Value::BytesArray(_) | Value::UuidArray(_) => {
                Err(no_arrays(Self::DIALECT))
            }
        }
    }

    fn number(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<i64> {
        Ok(value.read_long())
    }

    /// Also text is read as bytes: as text, SQLite's wrapper would replace what is not UTF-8.
    fn bytes<'v>(value: &'v mut SqliteValue<'_, '_, '_>) -> &'v [u8] {
        value.read_blob()
    }

    fn cell(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Cell> {
        match value.value_type() {
            None => Ok(Cell::Null),
            Some(SqliteType::Text) => Ok(text(value.read_blob().to_vec())),
            Some(SqliteType::Binary) => Ok(Cell::Bytes(value.read_blob().to_vec())),
            Some(SqliteType::SmallInt | SqliteType::Integer | SqliteType::Long) => {
                Ok(Cell::I64(value.read_long()))
            }
            Some(other) => Err(format!("{other:?} is no type of a small result: cast it").into()),
        }
    }
}
