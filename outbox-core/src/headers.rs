use std::collections::BTreeMap;

use crate::message_error::check_value;
use crate::{Limits, MessageError};

/// Header names that start with one of these (in any case) belong to a broker, to CloudEvents or to the outbox, and
/// are refused: a user's header must never be able to change how a message is routed, deduplicated or decoded.
pub const RESERVED_HEADER_PREFIXES: &[&str] =
    &["outbox-", "ce-", "ce_", "cloudevents", "nats-", "x-death", "content-type"];

/// Whether the name begins with one of [`RESERVED_HEADER_PREFIXES`], in any case.
#[must_use]
pub fn is_reserved_header(name: &str) -> bool {
    let begins =
        |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    RESERVED_HEADER_PREFIXES.iter().any(begins)
}

/// Text headers, sorted by name. Names are unique without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(BTreeMap<Box<str>, Box<str>>);

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a header; the name in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(value) => Some(value),
            None => self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value),
        }
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// The stored form: a JSON object of strings.
    #[must_use]
    pub fn to_json(&self) -> String {
        if self.is_empty() {
            return "{}".to_owned();
        }
        serde_json::to_string(&self.0).unwrap_or_else(|_| unreachable!("a map of strings is always JSON"))
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// [`MessageError::MalformedHeaders`] if it is not a JSON object of strings.
    pub fn from_json(json: &str) -> Result<Self, MessageError> {
        // What nearly every row has; worth not waking the parser for.
        if json == "{}" {
            return Ok(Self::new());
        }
        serde_json::from_str(json).map(Self).map_err(MessageError::MalformedHeaders)
    }

    /// Headers that were read from somewhere, unchecked.
    pub(crate) const fn stored(headers: BTreeMap<Box<str>, Box<str>>) -> Self {
        Self(headers)
    }

    pub(crate) fn insert(&mut self, name: &str, value: &str) -> Result<(), MessageError> {
        if self.get(name).is_some() {
            return Err(MessageError::DuplicateHeader { name: name.to_owned() });
        }
        check_name(name)?;
        self.0.insert(name.into(), value.into());
        Ok(())
    }

    pub(crate) fn check(&self, limits: &Limits) -> Result<(), MessageError> {
        if self.is_empty() {
            return Ok(());
        }
        if self.len() > limits.header_count {
            return Err(MessageError::TooManyHeaders { actual: self.len(), limit: limits.header_count });
        }
        for (name, value) in self.iter() {
            check_name(name)?;
            check_value(|| format!("header {name}").into(), value, limits.headers)?;
        }
        let size = self.size();
        if size > limits.headers {
            return Err(MessageError::TooLong {
                field: "headers".into(),
                actual: size,
                limit: limits.headers,
            });
        }
        Ok(())
    }
}

/// Names are RFC 9110 tokens: every broker and every proxy carries those.
fn check_name(name: &str) -> Result<(), MessageError> {
    if name.is_empty() {
        return Err(MessageError::Empty { field: "header name".into() });
    }
    if name.len() > Limits::HEADER_NAME {
        let (actual, limit) = (name.len(), Limits::HEADER_NAME);
        return Err(MessageError::TooLong { field: "header name".into(), actual, limit });
    }
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if let Some((position, found)) = name.char_indices().find(|(_, c)| !token(*c)) {
        return Err(MessageError::IllegalCharacter {
            field: "header name".into(),
            found,
            position,
            allowed: "letters, digits and !#$%&'*+-.^_`|~",
        });
    }
    if is_reserved_header(name) {
        return Err(MessageError::ReservedHeader { name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_without_case() {
        let mut headers = Headers::new();
        headers.insert("Tenant", "a").unwrap();
        assert!(matches!(headers.insert("tenant", "b"), Err(MessageError::DuplicateHeader { .. })));
        assert_eq!(headers.get("TENANT"), Some("a"));
    }

    #[test]
    fn reserved_names_are_refused_in_any_case() {
        for name in
            ["Nats-Msg-Id", "outbox-id", "CE-type", "ce_type", "x-death", "Content-Type", "cloudEvents_id"]
        {
            assert!(
                matches!(Headers::new().insert(name, "x"), Err(MessageError::ReservedHeader { .. })),
                "{name}"
            );
        }
        Headers::new().insert("traceparent", "x").unwrap();
    }

    #[test]
    fn names_and_values_cannot_inject_lines() {
        assert!(Headers::new().insert("a\r\nb", "x").is_err());
        assert!(Headers::new().insert("é", "x").is_err());
        let mut headers = Headers::new();
        headers.insert("a", "x\r\nNats-Msg-Id: 1").unwrap();
        let error = headers.check(&Limits::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "header a has the character '\\r' at byte 1; allowed: anything but CR, LF and NUL"
        );
    }

    #[test]
    fn the_stored_form_round_trips() {
        let mut headers = Headers::new();
        headers.insert("b", "\"quoted\" \u{1F980}").unwrap();
        headers.insert("a", "").unwrap();
        assert_eq!(Headers::from_json(&headers.to_json()).unwrap(), headers);
        assert_eq!(Headers::from_json("{}").unwrap(), Headers::new());
        assert!(Headers::from_json("{\"a\":1}").is_err());
        assert!(Headers::from_json("[]").is_err());
    }
}
