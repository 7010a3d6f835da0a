use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Limits, MessageError};

const ALLOWED: &str = "visible ASCII without * > \" ' ` \\";

/// Where a message goes: a Kafka topic, a NATS subject, an AMQP routing key, a Redis stream.
///
/// 1 to 249 bytes of visible ASCII without `*`, `>` (wild cards in NATS and AMQP), quotes and backslash; a dot neither
/// first nor last, nor twice in a row. What a single broker refuses beyond that is an error of that broker's transport.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks and wraps a topic name.
    ///
    /// # Errors
    ///
    /// [`MessageError`] of field `topic`, if it is empty, too long, or has a character that is not allowed.
    pub fn new(name: impl AsRef<str>) -> Result<Self, MessageError> {
        let name = name.as_ref();
        Self::check(name)?;
        Ok(Self(name.into()))
    }

    /// Whether [`Topic::new`] takes it.
    pub(crate) fn check(name: &str) -> Result<(), MessageError> {
        if name.is_empty() {
            return Err(MessageError::Empty { field: "topic".into() });
        }
        if name.len() > Limits::TOPIC {
            return Err(MessageError::TooLong {
                field: "topic".into(),
                actual: name.len(),
                limit: Limits::TOPIC,
            });
        }
        let bytes = name.as_bytes();
        // To the end, as in `check_value`: nearly every topic is legal, and is looked at with each message.
        let legal = bytes.iter().fold(true, |legal, byte| legal & is_topic_char(char::from(*byte)));
        let dots = bytes.windows(2).fold(false, |found, pair| found | (pair == b".."));
        if legal && !dots && !name.starts_with('.') && !name.ends_with('.') {
            return Ok(());
        }
        if let Some((position, found)) = name.char_indices().find(|(_, c)| !is_topic_char(*c)) {
            return Err(MessageError::IllegalCharacter {
                field: "topic".into(),
                found,
                position,
                allowed: ALLOWED,
            });
        }
        let stray = (0..bytes.len())
            .find(|&i| bytes[i] == b'.' && (i == 0 || i + 1 == bytes.len() || bytes[i + 1] == b'.'));
        if let Some(position) = stray {
            return Err(MessageError::IllegalCharacter {
                field: "topic".into(),
                found: '.',
                position,
                allowed: "a dot only between two other characters",
            });
        }
        Ok(())
    }

    /// A topic that was read from a table. It is not checked: a stored row must be delivered or set aside, and for both
    /// its topic is what it is.
    #[must_use]
    pub fn stored(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_topic_char(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '*' | '>' | '"' | '\'' | '`' | '\\')
}

impl FromStr for Topic {
    type Err = MessageError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Topics by name: `orders.placed` means that topic, `orders.*` every topic that starts with `orders.`, `*` all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicPattern {
    /// This one topic.
    Exact(Arc<str>),
    /// Every topic that starts with this text; the empty text means all topics.
    Prefix(Arc<str>),
}

impl TopicPattern {
    /// Whether the topic belongs to this pattern.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *topic,
            Self::Prefix(prefix) => topic.starts_with(&**prefix),
        }
    }
}

impl FromStr for TopicPattern {
    type Err = MessageError;

    /// # Errors
    ///
    /// [`MessageError`] of field `topic pattern` if a `*` stands anywhere but at the end, or the rest is no topic text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if !prefix {
            return Topic::new(name).map(|topic| Self::Exact(topic.0));
        }
        if name.len() > Limits::TOPIC {
            return Err(MessageError::TooLong {
                field: "topic pattern".into(),
                actual: name.len(),
                limit: Limits::TOPIC,
            });
        }
        match name.char_indices().find(|(_, c)| !is_topic_char(*c)) {
            Some((position, found)) => Err(MessageError::IllegalCharacter {
                field: "topic pattern".into(),
                found,
                position,
                allowed: "a topic name, with one * at its end",
            }),
            None => Ok(Self::Prefix(name.into())),
        }
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// The topics that one destination reads: those that match `include` and none of `exclude`.
///
/// An empty `include` means all topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicFilter {
    /// Patterns of which one must match; empty for all topics.
    pub include: Vec<TopicPattern>,
    /// Patterns of which none may match.
    pub exclude: Vec<TopicPattern>,
}

impl TopicFilter {
    /// Every topic.
    #[must_use]
    pub const fn all() -> Self {
        Self { include: Vec::new(), exclude: Vec::new() }
    }

    /// Whether this lets every topic through, so that a store can leave the clause out.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether the topic passes.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        (self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(topic)))
            && !self.exclude.iter().any(|pattern| pattern.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_at_most_249_bytes() {
        assert!(Topic::new("t".repeat(249)).is_ok());
        let error = Topic::new("t".repeat(300)).unwrap_err();
        assert_eq!(error.to_string(), "topic has 300 bytes, at most 249 are allowed");
    }

    #[test]
    fn a_topic_is_a_name_that_every_broker_can_carry() {
        for bad in ["", "a b", "a\nb", "a\0b", "a*", "a>b", ".a", "a.", "a..b", "ä", "a\"b", "a'b", "a\\b"] {
            assert!(Topic::new(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["orders", "orders.placed", "orders/placed:v1", "a-b_c.d"] {
            assert!(Topic::new(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn patterns_match_names_and_prefixes() {
        let exact: TopicPattern = "orders.placed".parse().unwrap();
        let prefix: TopicPattern = "orders.*".parse().unwrap();
        let all: TopicPattern = "*".parse().unwrap();
        assert!(exact.matches("orders.placed") && !exact.matches("orders.placed.v2"));
        assert!(prefix.matches("orders.x") && !prefix.matches("ordersx"));
        assert!(all.matches("anything"));
        assert!("a*b".parse::<TopicPattern>().is_err());
        assert_eq!(prefix.to_string(), "orders.*");
    }
}
