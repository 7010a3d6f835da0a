use diesel::QueryResult;
use diesel::deserialize::{self, FromSql};
use diesel::mysql::{Mysql, MysqlType, MysqlValue};
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use outbox_sql::{Cell, Dialect, Value};

use crate::Backend;
use crate::backend::{no_arrays, text};

impl Backend for Mysql {
    const DIALECT: Dialect = Dialect::MySql;

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

    fn number(value: MysqlValue<'_>) -> deserialize::Result<i64> {
        <i64 as FromSql<BigInt, Mysql>>::from_sql(value)
    }

    fn bytes<'v>(value: &'v mut MysqlValue<'_>) -> &'v [u8] {
        value.as_bytes()
    }

    fn cell(value: MysqlValue<'_>) -> deserialize::Result<Cell> {
        match value.value_type() {
            MysqlType::Tiny
            | MysqlType::UnsignedTiny
            | MysqlType::Short
            | MysqlType::UnsignedShort
            | MysqlType::Long
            | MysqlType::UnsignedLong
            | MysqlType::LongLong
            | MysqlType::UnsignedLongLong => Self::number(value).map(Cell::I64),
            MysqlType::String | MysqlType::Enum => Ok(text(value.as_bytes().to_vec())),
            MysqlType::Blob => Ok(Cell::Bytes(value.as_bytes().to_vec())),
            other => Err(format!("{other:?} is no type of a small result: cast it").into()),
        }
    }
}
