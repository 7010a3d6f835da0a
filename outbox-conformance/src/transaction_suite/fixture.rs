use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use outbox_core::{BoxError, OutboxMessage, TransactionError, TransactionPolicy};

use super::{CountedHints, DatabaseSql};
use crate::StoreFixture;

/// What the transaction suite needs to know about an ORM.
#[async_trait]
pub trait TransactionFixture: StoreFixture {
    /// The SQL of this database.
    fn sql(&self) -> &'static DatabaseSql;

    /// Begins a transaction with messages. The writer counts its commits, see [`TransactionFixture::commits`].
    async fn begin(&self, policy: &TransactionPolicy) -> Result<Box<dyn OpenScope>, FixtureError>;

    /// Runs a body in transactions with messages until one is committed, or the policy ends.
    async fn transaction(&self, policy: TransactionPolicy, body: Body) -> Result<(), FixtureError>;

    /// How often the hook after a commit was called.
    fn commits(&self) -> usize;

    /// Whom the writer was given by `with_hint`: the one of this fixture and the one of its transactions.
    fn hints(&self) -> &CountedHints;

    /// A connection that has nothing to do with the outbox.
    async fn connect(&self) -> Box<dyn PlainConnection>;
}

/// The body of a transaction.
pub type Body =
    Arc<dyn for<'t> Fn(&'t mut dyn FixtureScope) -> BoxFuture<'t, Result<(), FixtureError>> + Send + Sync>;

/// An open transaction, inside of its body.
#[async_trait]
pub trait FixtureScope: Send {
    /// Takes a message along.
    fn add(&mut self, message: OutboxMessage);

    /// Writes the messages that were added so far.
    async fn flush(&mut self) -> Result<(), FixtureError>;

    /// Runs a statement of the business in the transaction.
    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError>;

    /// Reads a number in the transaction.
    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError>;
}

/// An open transaction.
#[async_trait]
pub trait OpenScope: FixtureScope {
    /// Commits.
    async fn commit(self: Box<Self>) -> Result<(), FixtureError>;

    /// Rolls back.
    async fn rollback(self: Box<Self>);
}

/// A connection without a transaction.
#[async_trait]
pub trait PlainConnection: Send {
    /// Runs a statement.
    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError>;

    /// Reads a number.
    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError>;
}

/// What a transaction failed with. The ORM's own error is its source, as it would be with the error of a service.
#[derive(Debug)]
pub struct FixtureError {
    /// What it is.
    pub kind: FixtureErrorKind,
    source: BoxError,
}

/// The kinds of [`FixtureError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixtureErrorKind {
    /// The database's error.
    Database,
    /// [`TransactionError::Poisoned`].
    Poisoned,
    /// [`TransactionError::Ended`].
    Ended,
    /// [`TransactionError::Unknown`].
    Unknown,
    /// The body's own.
    Body,
}

impl FixtureError {
    /// The ORM's error in a statement.
    pub fn database(error: impl Into<BoxError>) -> Self {
        Self { kind: FixtureErrorKind::Database, source: error.into() }
    }

    pub(crate) fn body(text: &str) -> Self {
        Self { kind: FixtureErrorKind::Body, source: text.into() }
    }
}

impl<D: Error + Send + Sync + 'static> From<TransactionError<D>> for FixtureError {
    fn from(error: TransactionError<D>) -> Self {
        let kind = match &error {
            TransactionError::Poisoned => FixtureErrorKind::Poisoned,
            TransactionError::Ended => FixtureErrorKind::Ended,
            TransactionError::Unknown(_) => FixtureErrorKind::Unknown,
            _ => FixtureErrorKind::Database,
        };
        Self { kind, source: error.into() }
    }
}

impl fmt::Display for FixtureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.source)
    }
}

impl Error for FixtureError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
