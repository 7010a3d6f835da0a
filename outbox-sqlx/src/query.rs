use outbox_sql::Statement;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::Backend;

/// A statement of `outbox-sql` as a query of sqlx.
pub(crate) fn query<DB: Backend>(
    statement: Statement<'_>,
) -> Result<Query<'static, DB, DB::Arguments>, sqlx::Error> {
    let arguments = DB::arguments(statement.values).map_err(sqlx::Error::Encode)?;
    Ok(sqlx::query_with(safe(statement.sql), arguments).persistent(statement.reuse || DB::KEEPS_STATEMENTS))
}

/// The only place that vouches for SQL text which is not a constant of this crate: `outbox-sql` makes it from constants
/// and validated, quoted identifiers, and every value is bound.
pub(crate) fn safe<T>(sql: T) -> SqlStr
where
    AssertSqlSafe<T>: SqlSafeStr,
{
    AssertSqlSafe(sql).into_sql_str()
}
