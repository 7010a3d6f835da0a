use std::fmt;
use std::path::PathBuf;

use super::ConfigProfile;

/// Where a value of the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "source", content = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigOrigin {
    /// Nobody said anything.
    Default,
    /// The profile that was chosen.
    Profile(ConfigProfile),
    /// This file.
    File(PathBuf),
    /// This variable of the environment.
    Variable(String),
    /// The program, or a flag of its command line.
    Code,
    /// Another key, which leaves no other value.
    Follows(&'static str),
}

impl fmt::Display for ConfigOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(profile) => write!(f, "profile {profile}"),
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => f.write_str(name),
            Self::Code => f.write_str("code"),
            Self::Follows(key) => write!(f, "follows {key}"),
        }
    }
}
