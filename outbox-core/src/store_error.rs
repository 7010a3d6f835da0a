use std::error::Error;
use std::fmt;

/// Any error.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What a failed store operation means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The database can't be reached, or the connection was lost. Try again later; the outcome of the operation is
    /// unknown.
    Unavailable,
    /// The database refused for a reason that passes: deadlock, lock wait, serialization failure, busy. Try again.
    Conflict,
    /// The tables do not exist. Run the migrations.
    NotMigrated,
    /// The tables are of a version this code does not know. Deploy the matching version.
    SchemaVersion,
    /// The request itself is wrong; trying again does not help.
    Invalid,
    /// Anything else: missing rights, a full disk, a defect.
    Other,
}

/// A failed store operation: what kind, during which operation, and the driver's error as its source.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    operation: &'static str,
    message: String,
    source: Option<BoxError>,
}

impl StoreError {
    /// An error with a text of its own. The text says what happened and, where it is known, what to do.
    #[must_use]
    pub fn new(kind: StoreErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self { kind, operation, message: message.into(), source: None }
    }

    /// Adds the driver's error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Names the operation, where the place that made the error could not.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        self.operation = operation;
        self
    }

    /// What it means for the caller.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// What was being done.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable | StoreErrorKind::Conflict | StoreErrorKind::Other)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.message)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
