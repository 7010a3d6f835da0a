use std::borrow::Cow;

/// Why a message can't be built. Raised before any SQL; names the field and the limit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A field is longer than its limit.
    #[error("{field} has {actual} bytes, at most {limit} are allowed")]
    TooLong {
        /// The field, or `header <name>`.
        field: Cow<'static, str>,
        /// Bytes found.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A field that must have content is empty.
    #[error("{field} is empty")]
    Empty {
        /// The field.
        field: Cow<'static, str>,
    },
    /// A character that some broker or protocol can't carry.
    #[error("{field} has the character {found:?} at byte {position}; allowed: {allowed}")]
    IllegalCharacter {
        /// The field, or `header <name>`.
        field: Cow<'static, str>,
        /// The character.
        found: char,
        /// Byte offset of it.
        position: usize,
        /// What is allowed instead.
        allowed: &'static str,
    },
    /// The header name belongs to a broker or to the outbox itself.
    #[error("header name {name:?} is reserved (reserved prefixes: {})", crate::RESERVED_HEADER_PREFIXES.join(", "))]
    ReservedHeader {
        /// The name.
        name: String,
    },
    /// More headers than allowed.
    #[error("the message has {actual} headers, at most {limit} are allowed")]
    TooManyHeaders {
        /// Headers found.
        actual: usize,
        /// Headers allowed.
        limit: usize,
    },
    /// The same header was set twice; names are compared without case, as brokers and proxies do.
    #[error("header {name:?} is set twice")]
    DuplicateHeader {
        /// The name.
        name: String,
    },
    /// A number is out of its range.
    #[error("{field} is {actual}, allowed are {min} to {max}")]
    OutOfRange {
        /// The field.
        field: Cow<'static, str>,
        /// What was given.
        actual: i64,
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// The payload could not be serialized.
    #[error("the payload can't be serialized as JSON: {0}")]
    Serialize(#[source] serde_json::Error),
    /// The payload of an event could not be encoded.
    #[error("the payload can't be encoded: {0}")]
    Encode(#[source] crate::BoxError),
    /// Stored headers are not a JSON object of strings.
    #[error("headers are not a JSON object of strings: {0}")]
    MalformedHeaders(#[source] serde_json::Error),
    /// Not a UUID.
    #[error("{found:?} is not a message id (a UUID)")]
    InvalidId {
        /// What was found.
        found: String,
    },
}

impl MessageError {
    /// The field that is wrong, as it is named in the table.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::TooLong { field, .. }
            | Self::Empty { field }
            | Self::IllegalCharacter { field, .. }
            | Self::OutOfRange { field, .. } => field,
            Self::ReservedHeader { .. }
            | Self::TooManyHeaders { .. }
            | Self::DuplicateHeader { .. }
            | Self::MalformedHeaders(_) => "headers",
            Self::Serialize(_) | Self::Encode(_) => "payload",
            Self::InvalidId { .. } => "id",
        }
    }
}

/// A text field: not empty, within its limit, free of the characters that end a line or a C string.
pub(crate) fn check_text(field: &'static str, text: &str, limit: usize) -> Result<(), MessageError> {
    if text.is_empty() {
        return Err(MessageError::Empty { field: field.into() });
    }
    check_value(|| field.into(), text, limit)
}

pub(crate) fn check_value(
    field: impl Fn() -> Cow<'static, str>,
    text: &str,
    limit: usize,
) -> Result<(), MessageError> {
    if text.len() > limit {
        return Err(MessageError::TooLong { field: field(), actual: text.len(), limit });
    }
    // Byte by byte: no other character has one of these in it. To the end, because each message is looked at once more
    // when it is sent, and without a way out many bytes are compared at once.
    let illegal = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\0');
    let bytes = text.as_bytes();
    if bytes.iter().fold(false, |found, byte| found | illegal(byte))
        && let Some(position) = bytes.iter().position(illegal)
    {
        return Err(MessageError::IllegalCharacter {
            field: field(),
            found: char::from(bytes[position]),
            position,
            allowed: "anything but CR, LF and NUL",
        });
    }
    Ok(())
}
