use outbox_core::StoredMessage;
use outbox_sql::{Cell, FRESH_COLUMNS, MessageRow, SetAside};
use sqlx::{ColumnIndex, Decode, Row, TypeInfo, ValueRef};

/// Reads a row of `MESSAGE_COLUMNS`. Everything is borrowed from the driver's buffer; the payload is copied once.
///
/// Read without sqlx's check of types: texts are wanted as bytes, and the statements make sure of the rest.
pub(crate) fn message<'r, R>(row: &'r R) -> Result<StoredMessage, sqlx::Error>
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database>,
    Option<i64>: Decode<'r, R::Database>,
    &'r [u8]: Decode<'r, R::Database>,
    Option<&'r [u8]>: Decode<'r, R::Database>,
{
    let number = |column: usize| row.try_get_unchecked::<i64, _>(column);
    let maybe_number = |column: usize| row.try_get_unchecked::<Option<i64>, _>(column);
    let bytes = |column: usize| row.try_get_unchecked::<&[u8], _>(column);
    let maybe_bytes = |column: usize| row.try_get_unchecked::<Option<&[u8]>, _>(column);
    let set_aside = if row.len() == FRESH_COLUMNS {
        None
    } else {
        Some(SetAside {
            number: number(17)?,
            lane: number(18)?,
            attempts: number(19)?,
            held: number(20)?,
            due_at_us: maybe_number(21)?,
        })
    };
    let row = MessageRow {
        seq: number(0)?,
        shard: number(1)?,
        id: bytes(2)?,
        topic: bytes(3)?,
        ordering_key: maybe_bytes(4)?,
        event_type: maybe_bytes(5)?,
        schema_version: number(6)?,
        aggregate_type: maybe_bytes(7)?,
        aggregate_id: maybe_bytes(8)?,
        correlation_id: maybe_bytes(9)?,
        content_type: bytes(10)?,
        headers: bytes(11)?,
        payload: bytes(12)?,
        created_at_us: number(13)?,
        available_at_us: maybe_number(14)?,
        due_in_us: maybe_number(15)?,
        max_attempts: maybe_number(16)?,
        set_aside,
    };
    Ok(row.into_stored())
}

/// What a value of a small result is read as.
pub(crate) enum Kind {
    I64,
    Text,
    Bytes,
}

/// Reads one value of a small result. `kind` knows the database's names of types; it is asked instead of sqlx's check,
/// which refuses an unsigned number as a signed one and JSON as text.
pub(crate) fn cell<'r, R>(
    row: &'r R,
    column: usize,
    kind: impl FnOnce(&str) -> Option<Kind>,
) -> Result<Cell, sqlx::Error>
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database>,
    String: Decode<'r, R::Database>,
    &'r [u8]: Decode<'r, R::Database>,
{
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = kind(value.type_info().name());
    match kind {
        Some(Kind::I64) => row.try_get_unchecked(column).map(Cell::I64),
        Some(Kind::Text) => row.try_get_unchecked(column).map(Cell::Text),
        Some(Kind::Bytes) => {
            row.try_get_unchecked::<&[u8], _>(column).map(|bytes| Cell::Bytes(bytes.to_vec()))
        }
        None => {
            let text = format!("{} is no type of a small result: cast it", value.type_info().name());
            Err(sqlx::Error::ColumnDecode { index: column.to_string(), source: text.into() })
        }
    }
}
