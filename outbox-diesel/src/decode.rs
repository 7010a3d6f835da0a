use std::slice::IterMut;

use diesel::QueryResult;
use diesel::deserialize;
use diesel::result::Error;
use diesel::row::{Field, Row};
use outbox_core::StoredMessage;
use outbox_sql::{Cell, FRESH_COLUMNS, MESSAGE_COLUMNS, MessageRow, SetAside};

use crate::Backend;

/// Reads a row of `MESSAGE_COLUMNS`. Everything is borrowed from the driver's buffer; the payload is copied once.
///
/// Read without diesel's types: texts are wanted as bytes, and the statements make sure of the rest.
pub(crate) fn message<'a, DB, R>(row: &R) -> QueryResult<StoredMessage>
where
    DB: Backend,
    R: Row<'a, DB>,
{
    let fields: [_; MESSAGE_COLUMNS.len()] = std::array::from_fn(|column| row.get(column));
    let mut values = fields.each_ref().map(|field| field.as_ref().and_then(Field::value));
    let mut columns = Columns::<DB> { values: values.iter_mut(), column: 0 };
    // The fields of the row are in the order of the columns, and are read in it.
    let mut message = MessageRow {
        seq: columns.number()?,
        shard: columns.number()?,
        id: columns.bytes()?,
        topic: columns.bytes()?,
        ordering_key: columns.maybe_bytes(),
        event_type: columns.maybe_bytes(),
        schema_version: columns.number()?,
        aggregate_type: columns.maybe_bytes(),
        aggregate_id: columns.maybe_bytes(),
        correlation_id: columns.maybe_bytes(),
        content_type: columns.bytes()?,
        headers: columns.bytes()?,
        payload: columns.bytes()?,
        created_at_us: columns.number()?,
        available_at_us: columns.maybe_number()?,
        due_in_us: columns.maybe_number()?,
        max_attempts: columns.maybe_number()?,
        set_aside: None,
    };
    if row.field_count() > FRESH_COLUMNS {
        message.set_aside = Some(SetAside {
            number: columns.number()?,
            lane: columns.number()?,
            attempts: columns.number()?,
            held: columns.number()?,
            due_at_us: columns.maybe_number()?,
        });
    }
    Ok(message.into_stored())
}

/// Reads all values of a row of a small result.
pub(crate) fn row<'a, DB, R>(row: &R) -> QueryResult<outbox_sql::Row>
where
    DB: Backend,
    R: Row<'a, DB>,
{
    let cell = |column| -> deserialize::Result<Cell> {
        let field = row.get(column).ok_or("the row is too short")?;
        field.value().map_or(Ok(Cell::Null), DB::cell)
    };
    let cells = (0..row.field_count())
        .map(|column| cell(column).map_err(|error| wrong(&format!("column {column}"), &error)));
    Ok(outbox_sql::Row(cells.collect::<QueryResult<_>>()?))
}

/// The values of a row, read one after the other.
struct Columns<'v, 'f, DB: Backend> {
    values: IterMut<'v, Option<DB::RawValue<'f>>>,
    column: usize,
}

impl<'v, 'f, DB: Backend> Columns<'v, 'f, DB> {
    fn next(&mut self) -> Option<&'v mut Option<DB::RawValue<'f>>> {
        self.column += 1;
        self.values.next()
    }

    fn maybe_number(&mut self) -> QueryResult<Option<i64>> {
        let value = self.next().and_then(Option::take);
        value.map(DB::number).transpose().map_err(|error| wrong(self.name(), &error))
    }

    fn number(&mut self) -> QueryResult<i64> {
        self.maybe_number()?.ok_or_else(|| self.is_null())
    }

    fn maybe_bytes(&mut self) -> Option<&'v [u8]> {
        self.next()?.as_mut().map(DB::bytes)
    }

    fn bytes(&mut self) -> QueryResult<&'v [u8]> {
        self.maybe_bytes().ok_or_else(|| self.is_null())
    }

    fn is_null(&self) -> Error {
        wrong(self.name(), &"it is null")
    }

    /// The column that was read last.
    fn name(&self) -> &'static str {
        MESSAGE_COLUMNS.get(self.column.wrapping_sub(1)).unwrap_or(&"after the last")
    }
}

fn wrong(column: &str, error: &dyn std::fmt::Display) -> Error {
    Error::DeserializationError(format!("{column}: {error}").into())
}
