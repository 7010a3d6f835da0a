use outbox_core::{MessageId, StoreError, StoreErrorKind};
use uuid::Uuid;

use crate::Row;

/// What the store's own statements promise about their columns. A row that breaks it is a defect of the adapter, never
/// of somebody's data.
impl Row {
    pub(crate) fn number(&self, column: usize) -> Result<i64, StoreError> {
        self.i64(column)?.ok_or_else(|| missing(column))
    }

    pub(crate) fn small<T: TryFrom<i64>>(&self, column: usize) -> Result<T, StoreError> {
        let number = self.number(column)?;
        T::try_from(number).map_err(|_| decode(format!("column {column}: {number} is out of range")))
    }

    pub(crate) fn id(&self, column: usize) -> Result<Option<MessageId>, StoreError> {
        let Some(bytes) = self.bytes(column)? else {
            return Ok(None);
        };
        match Uuid::from_slice(bytes) {
            Ok(uuid) => Ok(Some(MessageId::from_uuid(uuid))),
            Err(_) => Err(decode(format!("column {column}: {} bytes are no id", bytes.len()))),
        }
    }

    pub(crate) fn required_id(&self, column: usize) -> Result<MessageId, StoreError> {
        self.id(column)?.ok_or_else(|| missing(column))
    }

    /// A text that is bytes in some databases. What is not UTF-8 is replaced: whoever compares it finds nothing, and the
    /// message itself is set aside where it is read.
    pub(crate) fn lossy_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        match self.text(column) {
            Ok(text) => Ok(text.map(str::to_owned)),
            Err(_) => Ok(self.bytes(column)?.map(|bytes| String::from_utf8_lossy(bytes).into_owned())),
        }
    }
}

fn missing(column: usize) -> StoreError {
    decode(format!("column {column} is null"))
}

fn decode(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Other, "decode", message)
}
