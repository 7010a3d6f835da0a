use std::fmt;

use super::entry::Entry;
use super::origin::ConfigOrigin;

/// Defaults for a kind of place. Everything else that says something wins over a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ConfigProfile {
    /// Polls every 100 ms at the longest, and serves no metrics.
    Testing,
    /// Polls every second at the longest, and serves metrics.
    Development,
    /// Polls every 5 s at the longest, and serves metrics.
    Production,
}

impl ConfigProfile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Testing, Self::Development, Self::Production];

    /// What people call it, in any case: `test`, `testing`; `dev`, `development`; `prod`, `production`, `staging`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "test" | "testing" => Some(Self::Testing),
            "dev" | "development" => Some(Self::Development),
            "prod" | "production" | "staging" => Some(Self::Production),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Testing => "testing",
            Self::Development => "development",
            Self::Production => "production",
        }
    }

    /// What it sets, by key.
    pub(super) const fn values(self) -> (&'static str, bool) {
        match self {
            Self::Testing => ("100ms", false),
            Self::Development => ("1s", true),
            Self::Production => ("5s", true),
        }
    }

    pub(super) fn entries(self) -> [Entry; 2] {
        let (idle, metrics) = self.values();
        let entry = |key: &str, value| Entry::new(key, ConfigOrigin::Profile(self), value);
        [entry("relay.poll.idle", idle.into()), entry("metrics.enabled", metrics.into())]
    }
}

impl fmt::Display for ConfigProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
