use std::path::Path;

use figment::error::{Actual, Kind};

use super::environment::{CODE, NAME};
use super::keys::{KEYS, variable};

/// Why a configuration is refused: where, which key, and what is allowed. No text repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    origin: String,
    problem: String,
}

impl ConfigError {
    /// Where it was found: the path of a file, `environment`, or `code`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn new(origin: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { origin: origin.into(), problem: problem.into() }
    }

    pub(super) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::new(path.display().to_string(), problem)
    }

    /// A variable in one of our sections that sets nothing.
    pub(super) fn unknown_variable(name: &str) -> Self {
        let section = name.split('_').take(2).collect::<Vec<_>>().join("_");
        let allowed: Vec<_> =
            KEYS.iter().map(|(key, _)| variable(key)).filter(|known| known.starts_with(&section)).collect();
        Self::new(NAME, format!("unknown variable {name}; allowed are {}", allowed.join(", ")))
    }

    pub(super) fn unknown_key(key: &str) -> Self {
        let allowed: Vec<_> = KEYS.iter().map(|(key, _)| *key).collect();
        Self::new(CODE, format!("unknown key {key}; allowed are {}", allowed.join(", ")))
    }
}

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        let origin = match &error.metadata {
            Some(metadata) => match &metadata.source {
                Some(source) => source.to_string(),
                None => metadata.name.to_string(),
            },
            None => "configuration".to_owned(),
        };
        let key = |name: &str| {
            let mut path: Vec<_> = error.path.iter().map(String::as_str).collect();
            // Some errors come with the path of the key, some with that of its table.
            if path.last() != Some(&name) && !name.is_empty() {
                path.push(name);
            }
            match path.join(".") {
                path if origin == NAME => variable(&path),
                path => path,
            }
        };
        let problem = match &error.kind {
            Kind::UnknownField(name, allowed) => {
                format!("unknown key {}; allowed are {}", key(name), allowed.join(", "))
            }
            Kind::UnknownVariant(_, allowed) => {
                format!("{}: expected one of {}", key(""), allowed.join(", "))
            }
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                format!("{}: expected {}, found {}", key(""), wanted(expected), sort(found))
            }
            Kind::MissingField(name) => format!("{} is missing", key(name)),
            Kind::Message(text) => format!("{}: {text}", key("")),
            other => format!("{}: {other}", key("")),
        };
        Self { origin, problem }
    }
}

/// Rust's names of types say nothing to whoever writes a configuration.
fn wanted(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u16" => "a whole number",
        "f64" => "a number",
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other => other,
    }
}

/// What was found, without its value: it may be a URL in the wrong place.
const fn sort(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Str(_) | Actual::Char(_) => "a text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}
