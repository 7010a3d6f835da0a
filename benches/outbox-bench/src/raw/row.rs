use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{ColumnIndex, Decode};
use uuid::Uuid;

/// A whole row.
#[derive(Debug)]
#[expect(dead_code, reason = "to read every column is the work that is measured")]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) id: Uuid,
    topic: String,
    pub(crate) ordering_key: Option<String>,
    pub(crate) event_type: Option<String>,
    schema_version: i64,
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    correlation_id: Option<String>,
    pub(crate) content_type: String,
    headers: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) created_at: Time,
    available_at: Option<Time>,
    max_attempts: Option<i64>,
}

/// A time as the client gets it: a number, or the bytes of a date.
#[derive(Debug)]
#[expect(dead_code, reason = "to read every column is the work that is measured")]
pub(crate) enum Time {
    Number(i64),
    Date(Vec<u8>),
}

/// Where PostgreSQL begins to count its microseconds: 2000-01-01.
const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);

impl Time {
    /// The time of a row of PostgreSQL.
    pub(crate) fn of_postgres(&self) -> SystemTime {
        match self {
            Self::Number(micros) => {
                UNIX_EPOCH + POSTGRES_EPOCH + Duration::from_micros(u64::try_from(*micros).unwrap_or(0))
            }
            Self::Date(_) => UNIX_EPOCH,
        }
    }
}

/// Reads in the order of [`Row::decode`].
pub(super) const CLAIM: &str = "
    select seq, id, topic, ordering_key, event_type, schema_version, aggregate_type, aggregate_id, correlation_id,
        content_type, headers, payload, created_at, available_at, max_attempts
    from outbox_messages where seq > $1 order by seq limit 1000";

pub(super) const DELETE: &str = "delete from outbox_messages where seq between $1 and $2";

impl Row {
    /// Reads by position and without a check of the types, as the fastest reader would. `T` is what the client reads a
    /// time as.
    pub(super) fn decode<R, T>(row: R, time: impl Fn(T) -> Time) -> Result<Self, sqlx::Error>
    where
        R: sqlx::Row,
        usize: ColumnIndex<R>,
        for<'r> i64: Decode<'r, R::Database>,
        for<'r> Option<i64>: Decode<'r, R::Database>,
        for<'r> Uuid: Decode<'r, R::Database>,
        for<'r> String: Decode<'r, R::Database>,
        for<'r> Option<String>: Decode<'r, R::Database>,
        for<'r> Vec<u8>: Decode<'r, R::Database>,
        for<'r> T: Decode<'r, R::Database>,
        for<'r> Option<T>: Decode<'r, R::Database>,
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
            created_at: time(row.try_get_unchecked(12)?),
            available_at: row.try_get_unchecked::<Option<T>, _>(13)?.map(time),
            max_attempts: row.try_get_unchecked(14)?,
        })
    }
}
