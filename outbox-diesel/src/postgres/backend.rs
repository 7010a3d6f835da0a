use diesel::QueryResult;
use diesel::deserialize;
use diesel::pg::{Pg, PgValue};
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Uuid};
use outbox_sql::{Cell, Dialect, Value};

use crate::Backend;
use crate::backend::text;

impl Backend for Pg {
    const DIALECT: Dialect = Dialect::Postgres;

    fn bind<'b>(value: &'b Value<'_>, out: &mut AstPass<'_, 'b, Self>) -> QueryResult<()> {
        match value {
            Value::I64(value) => out.push_bind_param_value_only::<Nullable<BigInt>, _>(value),
            Value::Text(value) => out.push_bind_param_value_only::<Nullable<Text>, _>(value),
            Value::Bytes(value) => out.push_bind_param_value_only::<Nullable<Binary>, _>(value),
            Value::Uuid(value) => out.push_bind_param_value_only::<Nullable<Uuid>, _>(value),
            Value::I64Array(values) => out.push_bind_param_value_only::<Array<Nullable<BigInt>>, _>(values),
            Value::TextArray(values) => out.push_bind_param_value_only::<Array<Nullable<Text>>, _>(values),
            Value::BytesArray(values) => out.push_bind_param_value_only::<Array<Binary>, _>(values),
            Value::UuidArray(values) => out.push_bind_param_value_only::<Array<Nullable<Uuid>>, _>(values),
        }
    }

    /// Most significant byte first.
    fn number(value: PgValue<'_>) -> deserialize::Result<i64> {
        match *value.as_bytes() {
            [a, b] => Ok(i16::from_be_bytes([a, b]).into()),
            [a, b, c, d] => Ok(i32::from_be_bytes([a, b, c, d]).into()),
            [a, b, c, d, e, f, g, h] => Ok(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
            ref bytes => Err(format!("a number of {} bytes", bytes.len()).into()),
        }
    }

    fn bytes<'v>(value: &'v mut PgValue<'_>) -> &'v [u8] {
        value.as_bytes()
    }

    /// The numbers of the types are those of `pg_type`, which never change.
    fn cell(value: PgValue<'_>) -> deserialize::Result<Cell> {
        match value.get_oid().get() {
            // int8, int2, int4.
            20 | 21 | 23 => Self::number(value).map(Cell::I64),
            // name, text, varchar.
            19 | 25 | 1043 => Ok(text(value.as_bytes().to_vec())),
            // bytea, uuid.
            17 | 2950 => Ok(Cell::Bytes(value.as_bytes().to_vec())),
            other => Err(format!("the type {other} is none of a small result: cast it").into()),
        }
    }
}
