use outbox_core::StoredMessage;
use outbox_sql::Row;
use sea_orm::{DbErr, QueryResult};

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use crate::{decode, sqlx_error::reading};

/// Reads a row of `MESSAGE_COLUMNS`, from the row of sqlx inside: sea-orm's own way copies every text and every payload
/// once more.
pub(crate) fn message(row: &QueryResult) -> Result<StoredMessage, DbErr> {
    #[cfg(feature = "postgres")]
    if let Some(row) = row.try_as_pg_row() {
        return decode::message(row).map_err(reading);
    }
    #[cfg(feature = "mysql")]
    if let Some(row) = row.try_as_mysql_row() {
        return decode::message(row).map_err(reading);
    }
    #[cfg(feature = "sqlite")]
    if let Some(row) = row.try_as_sqlite_row() {
        return decode::message(row).map_err(reading);
    }
    Err(foreign(row))
}

/// Reads a row of a small result.
pub(crate) fn cells(row: &QueryResult) -> Result<Row, DbErr> {
    #[cfg(feature = "postgres")]
    if let Some(row) = row.try_as_pg_row() {
        return decode::cells(row, crate::postgres::kind).map_err(reading);
    }
    #[cfg(feature = "mysql")]
    if let Some(row) = row.try_as_mysql_row() {
        return decode::cells(row, crate::mysql::kind).map_err(reading);
    }
    #[cfg(feature = "sqlite")]
    if let Some(row) = row.try_as_sqlite_row() {
        return decode::cells(row, crate::sqlite::kind).map_err(reading);
    }
    Err(foreign(row))
}

fn foreign(row: &QueryResult) -> DbErr {
    DbErr::Type(format!("a row of columns {:?} is not of a database whose feature is on", row.column_names()))
}
