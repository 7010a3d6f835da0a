use std::borrow::Cow;
use std::sync::Arc;

use uuid::Uuid;

/// SQL text and the values of its parameters, in order.
///
/// PostgreSQL text has `$1`, `$2`, …, the others `?`. Every integer parameter is a 64-bit number; where a database cares
/// about the width, the text casts it.
#[derive(Debug, Clone)]
pub struct Statement<'a> {
    /// The text. Made by this crate from constants and validated, quoted identifiers; never from a user's data.
    pub sql: Arc<str>,
    /// The values.
    pub values: Vec<Value<'a>>,
    /// Whether the text is one of a fixed few, worth keeping as a prepared statement. Not so for a multi-row `VALUES`,
    /// whose text depends on the number of rows.
    pub reuse: bool,
}

impl<'a> Statement<'a> {
    /// A statement whose text is one of a fixed few.
    #[must_use]
    pub fn new(sql: &Arc<str>, values: Vec<Value<'a>>) -> Self {
        Self { sql: Arc::clone(sql), values, reuse: true }
    }

    /// A statement whose text was made for this one use.
    #[must_use]
    pub fn once(sql: impl Into<Arc<str>>, values: Vec<Value<'a>>) -> Self {
        Self { sql: sql.into(), values, reuse: false }
    }
}

/// The value of a parameter. Arrays are used with PostgreSQL only.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A 64-bit number.
    I64(Option<i64>),
    /// Text.
    Text(Option<Cow<'a, str>>),
    /// Bytes.
    Bytes(Option<Cow<'a, [u8]>>),
    /// A UUID: `uuid` in PostgreSQL; the other databases get 16 [`Value::Bytes`] instead.
    Uuid(Option<Uuid>),
    /// `int8[]`.
    I64Array(Vec<Option<i64>>),
    /// `text[]`.
    TextArray(Vec<Option<Cow<'a, str>>>),
    /// `bytea[]`.
    BytesArray(Vec<Cow<'a, [u8]>>),
    /// `uuid[]`.
    UuidArray(Vec<Option<Uuid>>),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::I64(Some(value))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Text(Some(Cow::Owned(value)))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(Some(Cow::Borrowed(value)))
    }
}
