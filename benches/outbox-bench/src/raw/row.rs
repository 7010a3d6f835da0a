use sqlx::{ColumnIndex, Decode, Type};
use uuid::Uuid;

/// A whole row.
#[derive(Debug)]
#[expect(dead_code, reason = "to read every column is the work that is measured")]
pub(crate) struct Row {
    pub(crate) seq: i64,
    id: Uuid,
    topic: String,
    ordering_key: Option<String>,
    event_type: Option<String>,
    schema_version: i64,
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    correlation_id: Option<String>,
    content_type: String,
    headers: String,
    payload: Vec<u8>,
    created_at: i64,
    available_at: Option<i64>,
    max_attempts: Option<i64>,
}

/// Reads in the order of [`Row::decode`]. Times come as numbers: SQLite has no other, and PostgreSQL's binary form is one.
pub(crate) const CLAIM: &str = "
    select seq, id, topic, ordering_key, event_type, schema_version, aggregate_type, aggregate_id, correlation_id,
        content_type, headers, payload, created_at, available_at, max_attempts
    from outbox_messages where seq > $1 order by seq limit 1000";

pub(crate) const DELETE: &str = "delete from outbox_messages where seq between $1 and $2";

impl Row {
    /// Reads by position and without a check of the types, as the fastest reader would.
    pub(crate) fn decode<R>(row: R) -> Result<Self, sqlx::Error>
    where
        R: sqlx::Row,
        usize: ColumnIndex<R>,
        for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
        for<'r> Uuid: Decode<'r, R::Database> + Type<R::Database>,
        for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
        for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
    {
        Ok(Self {
            seq: row.try_get_unchecked(0)?,
            id: row.try_get_unchecked(1)?,
            topic: row.try_get_unchecked(2)?,
            ordering_key: row.try_get_unchecked(3)?,
            event_type: row.try_get_unchecked(4)?,
            schema_version: row.try_get_unchecked(5)?,
            aggregate_type: row.try_get_unchecked(6)?,
            aggregate_id: row.try_get_unchecked(7)?,
            correlation_id: row.try_get_unchecked(8)?,
            content_type: row.try_get_unchecked(9)?,
            headers: row.try_get_unchecked(10)?,
            payload: row.try_get_unchecked(11)?,
            created_at: row.try_get_unchecked(12)?,
            available_at: row.try_get_unchecked(13)?,
            max_attempts: row.try_get_unchecked(14)?,
        })
    }
}
