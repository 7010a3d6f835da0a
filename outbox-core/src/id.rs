use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::MessageError;

/// The identity of a message, everywhere: the row's `id`, the broker's message id, the inbox key.
///
/// New ids are UUIDs of version 7, so they sort by the time they were made. Any other UUID that a writer in another
/// language chose is accepted; nothing here relies on the version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct MessageId(Uuid);

impl MessageId {
    /// A fresh UUIDv7.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that differs every time would surprise")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// An id that was made elsewhere, for example derived from a business key so that a repeated command enqueues the
    /// same id again.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }

    /// The 16 bytes, as MySQL/MariaDB and SQLite store them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl AsRef<Self> for MessageId {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl From<Uuid> for MessageId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl FromStr for MessageId {
    type Err = MessageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text)
            .map(Self)
            .map_err(|_| MessageError::InvalidId { found: text.chars().take(64).collect() })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
