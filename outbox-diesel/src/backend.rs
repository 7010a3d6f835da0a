use diesel::QueryResult;
use diesel::deserialize;
use diesel::query_builder::AstPass;
use outbox_sql::{Cell, Dialect, Value};

/// What differs between the databases of diesel, whichever way it connects to them.
///
/// Implemented for `diesel::pg::Pg`, `diesel::mysql::Mysql` and `diesel::sqlite::Sqlite`; not meant to be implemented
/// elsewhere.
pub trait Backend: diesel::backend::Backend {
    /// Its SQL.
    const DIALECT: Dialect;

    /// Binds one value.
    fn bind<'b>(value: &'b Value<'_>, out: &mut AstPass<'_, 'b, Self>) -> QueryResult<()>;

    /// Reads a number of any width.
    fn number(value: Self::RawValue<'_>) -> deserialize::Result<i64>;

    /// Reads text or bytes as they are, without a check that text is UTF-8.
    fn bytes<'v>(value: &'v mut Self::RawValue<'_>) -> &'v [u8];

    /// Reads one value of a small result, by the type that the database says it has.
    fn cell(value: Self::RawValue<'_>) -> deserialize::Result<Cell>;
}

/// Text if it is UTF-8, bytes if it is not: what is wrong with it is then said by whoever wanted text.
pub(crate) fn text(bytes: Vec<u8>) -> Cell {
    match String::from_utf8(bytes) {
        Ok(text) => Cell::Text(text),
        Err(error) => Cell::Bytes(error.into_bytes()),
    }
}

/// What a database without arrays says to one.
#[cfg(any(feature = "mysql", feature = "async-mysql", feature = "sqlite"))]
pub(crate) fn no_arrays(dialect: Dialect) -> diesel::result::Error {
    diesel::result::Error::SerializationError(format!("{} has no arrays", dialect.name()).into())
}
