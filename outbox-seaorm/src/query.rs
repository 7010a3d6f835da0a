use outbox_sql::Value;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use sea_orm::sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use sea_orm::{DbBackend, DbErr};

/// The only place that vouches for SQL text of sqlx which is not a constant of this crate: settings of `outbox-sql`, and a
/// name that is a UUID.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) fn safe(sql: String) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}

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
