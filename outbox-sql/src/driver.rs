use async_trait::async_trait;
use outbox_core::{Claim, StoreError};

use crate::Statement;

/// Runs statements on one database through one ORM. What an adapter implements; the protocol is in
/// [`crate::SqlStore`].
///
/// A driver opens connections of its own for the relay, never the user's, and sets them up with
/// [`crate::Dialect::session_settings`] before it prepares anything.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// Reads message rows, in the columns and the order of [`crate::MESSAGE_COLUMNS`], and stops after the row that
    /// reaches `max_bytes`. [`Claim::more`] is set if it stopped there, or if it read `limit` rows.
    async fn messages(
        &self,
        session: Session,
        statement: Statement<'_>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Claim, StoreError>;

    /// Reads a small result.
    async fn query(&self, session: Session, statement: Statement<'_>) -> Result<Vec<Row>, StoreError>;

    /// Runs the steps in one transaction (a single statement needs no explicit one). SQLite begins it with
    /// `BEGIN IMMEDIATE`. The transaction is rolled back and nothing else is run if a [`Step::Fence`] fails.
    ///
    /// A connection on which a step failed, or was cut off, is not used again: the store may have changed a setting of it
    /// for the steps in between.
    async fn transaction(
        &self,
        session: Session,
        steps: Vec<Step<'_>>,
    ) -> Result<TransactionResult, StoreError>;

    /// Runs a script of several statements without parameters (a migration), in one transaction where the database can.
    async fn script(&self, sql: &str) -> Result<(), StoreError>;
}

/// What a statement is for. Reads, settles and everything else run on connections of their own, so that none waits for
/// another. A driver of a database with a single writer may ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Session {
    /// Claims and sweeps.
    Read,
    /// Settles.
    Settle,
    /// Leases, marks, figures, dead letters.
    Control,
}

/// One statement of a transaction.
#[derive(Debug, Clone)]
pub enum Step<'a> {
    /// A statement that returns one row with one number; the transaction goes on only if that is `expect`.
    Fence {
        /// The statement.
        statement: Statement<'a>,
        /// The number.
        expect: i64,
    },
    /// A statement whose affected rows are counted.
    Write(Statement<'a>),
    /// A statement whose affected rows are not counted (the second half of a move).
    Also(Statement<'a>),
    /// A statement whose rows are wanted: a read, or a write with `RETURNING`.
    Read(Statement<'a>),
}

/// What a transaction did.
#[derive(Debug, Default)]
pub struct TransactionResult {
    /// A fence failed: nothing was changed.
    pub stale: bool,
    /// Rows affected by the [`Step::Write`]s.
    pub applied: u64,
    /// The rows of each [`Step::Read`], in order.
    pub rows: Vec<Vec<Row>>,
}

/// A row of a small result: 64-bit numbers and texts. Statements cast what is neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(pub Vec<Cell>);

/// A value of a small result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// SQL null.
    Null,
    /// A number.
    I64(i64),
    /// Text.
    Text(String),
    /// Bytes, also those of a UUID.
    Bytes(Vec<u8>),
}

impl Row {
    /// The number in a column; `None` if it is null.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the column does not exist or is no number: a defect of the adapter.
    pub fn i64(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.0.get(column) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::I64(value)) => Ok(Some(*value)),
            other => Err(unexpected(column, "a number", other)),
        }
    }

    /// The text in a column; `None` if it is null. Bytes that are UTF-8 count as text: MySQL says of a column with a
    /// binary collation the same as of one that holds bytes.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the column does not exist or is no text: a defect of the adapter.
    pub fn text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        match self.0.get(column) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(value)) => Ok(Some(value)),
            Some(other @ Cell::Bytes(value)) => match std::str::from_utf8(value) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(unexpected(column, "text", Some(other))),
            },
            other => Err(unexpected(column, "text", other)),
        }
    }

    /// The bytes in a column; `None` if it is null.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the column does not exist or has no bytes: a defect of the adapter.
    pub fn bytes(&self, column: usize) -> Result<Option<&[u8]>, StoreError> {
        match self.0.get(column) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Bytes(value)) => Ok(Some(value)),
            other => Err(unexpected(column, "bytes", other)),
        }
    }
}

fn unexpected(column: usize, wanted: &str, found: Option<&Cell>) -> StoreError {
    StoreError::new(
        outbox_core::StoreErrorKind::Other,
        "decode",
        format!("column {column}: expected {wanted}, found {found:?}"),
    )
}
