use std::path::{Path, PathBuf};

use super::ConfigOrigin;

/// Why a configuration is refused: where, which key, its value, and what is allowed. No text has credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read, or is no TOML.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// There is no such key.
    #[error("{};{} {allowed}", unknown(.origin, .key), suggestion(.nearest.as_deref()))]
    UnknownKey {
        /// Where it is.
        origin: ConfigOrigin,
        /// The key, or the variable.
        key: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// What there is instead.
        allowed: String,
    },
    /// The value can't be used.
    #[error("{origin}: {key} is {value}; {allowed}")]
    WrongValue {
        /// Where it is.
        origin: ConfigOrigin,
        /// The key.
        key: String,
        /// The value; of a URL only what can't be secret.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// Another key needs this one.
    #[error("{origin}: {key} is missing: {needed_by} needs it")]
    Missing {
        /// Where the other key is.
        origin: ConfigOrigin,
        /// The key that is missing.
        key: String,
        /// The other key.
        needed_by: String,
    },
    /// One source sets the same twice.
    #[error("{origin}: {key} is set twice, also as {other}; write it once")]
    Twice {
        /// Where they are.
        origin: ConfigOrigin,
        /// The key.
        key: String,
        /// The other key, or the other variable.
        other: String,
    },
}

impl ConfigError {
    /// Where it was found.
    #[must_use]
    pub fn origin(&self) -> ConfigOrigin {
        match self {
            Self::File { path, .. } => ConfigOrigin::File(path.clone()),
            Self::UnknownKey { origin, .. }
            | Self::WrongValue { origin, .. }
            | Self::Missing { origin, .. }
            | Self::Twice { origin, .. } => origin.clone(),
        }
    }

    /// The key that it is about; none if a file can't be read.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::File { .. } => None,
            Self::UnknownKey { key, .. }
            | Self::WrongValue { key, .. }
            | Self::Missing { key, .. }
            | Self::Twice { key, .. } => Some(key),
        }
    }

    pub(super) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }
}

fn unknown(origin: &ConfigOrigin, key: &str) -> String {
    match origin {
        ConfigOrigin::Variable(name) => format!("unknown variable {name}"),
        _ => format!("{origin}: unknown key {key}"),
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(" did you mean {nearest}?")).unwrap_or_default()
}
