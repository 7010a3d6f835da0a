use outbox_sql::Value;
use sea_orm::{DbBackend, DbErr};

/// A statement of `outbox-sql` as one of sea-orm.
///
/// `outbox-sql` makes the text from constants and validated, quoted identifiers, and every value is bound.
pub(crate) fn query(
    backend: DbBackend,
    statement: outbox_sql::Statement<'_>,
) -> Result<sea_orm::Statement, DbErr> {
    #[cfg(feature = "postgres")]
    if backend == DbBackend::Postgres {
        return Ok(crate::postgres::query(statement));
    }
    let values = statement.values.into_iter().map(value).collect::<Result<Vec<_>, _>>()?;
    Ok(sea_orm::Statement::from_sql_and_values(backend, &*statement.sql, values))
}

/// A value that every database has.
pub(crate) fn value(value: Value<'_>) -> Result<sea_orm::Value, DbErr> {
    Ok(match value {
        Value::I64(value) => sea_orm::Value::BigInt(value),
        Value::Text(value) => sea_orm::Value::String(value.map(Into::into)),
        Value::Bytes(value) => sea_orm::Value::Bytes(value.map(Into::into)),
        Value::Uuid(value) => sea_orm::Value::Bytes(value.map(|uuid| uuid.as_bytes().to_vec())),
        Value::I64Array(_) | Value::TextArray(_) | Value::BytesArray(_) | Value::UuidArray(_) => {
            return Err(DbErr::Type("only PostgreSQL has arrays".to_owned()));
        }
    })
}
