use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::message_error::check_text;
use crate::{Limits, MessageError};

/// Messages with the same key are delivered in the order of their rows. 1 to 512 bytes of UTF-8 without CR, LF, NUL;
/// compared byte by byte.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderingKey(Arc<str>);

impl OrderingKey {
    /// Checks and wraps a key.
    ///
    /// # Errors
    ///
    /// [`MessageError`] of field `ordering_key`, if it is empty, too long, or has CR, LF or NUL.
    pub fn new(key: impl AsRef<str>) -> Result<Self, MessageError> {
        let key = key.as_ref();
        check_text("ordering_key", key, Limits::ORDERING_KEY)?;
        Ok(Self(key.into()))
    }

    /// A key that was read from a table. It is not checked: a stored row must be delivered or set aside, and for both
    /// its key is what it is.
    #[must_use]
    pub fn stored(key: &str) -> Self {
        Self(key.into())
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OrderingKey {
    type Err = MessageError;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Self::new(key)
    }
}

impl fmt::Display for OrderingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OrderingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
