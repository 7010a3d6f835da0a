use std::path::PathBuf;

use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider, Source};

use super::{ConfigOrigin, ConfigProfile};

/// One value in one source. Each is a provider of its own, so that what figment knows of a value says which variable, or
/// which of two names, it was.
#[derive(Clone)]
pub(super) struct Entry {
    /// The key, by its first name.
    pub(super) key: String,
    /// The key as it was written.
    pub(super) written: String,
    pub(super) origin: ConfigOrigin,
    pub(super) value: Value,
}

const FILE: &str = "file";
const ENVIRONMENT: &str = "environment";
const PROFILE: &str = "profile";

impl Entry {
    pub(super) fn new(key: impl Into<String>, origin: ConfigOrigin, value: Value) -> Self {
        let key = key.into();
        Self { written: key.clone(), key, origin, value }
    }

    pub(super) fn written(mut self, written: impl Into<String>) -> Self {
        self.written = written.into();
        self
    }
}

impl Provider for Entry {
    fn metadata(&self) -> Metadata {
        let written = || Source::Custom(self.written.clone());
        match &self.origin {
            // A file has a name of its own for the key, and a path.
            ConfigOrigin::File(path) => Metadata::from(format!("{FILE}:{}", self.written), path.as_path()),
            ConfigOrigin::Variable(name) => Metadata::from(ENVIRONMENT, Source::Custom(name.clone())),
            ConfigOrigin::Profile(profile) => Metadata::from(PROFILE, Source::Custom(profile.to_string())),
            _ => Metadata::from("code", written()),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}

/// Where a value of figment comes from, and how its key was written there.
pub(super) fn origin_of(key: &str, metadata: &Metadata) -> (ConfigOrigin, String) {
    let custom = || metadata.source.as_ref().and_then(Source::custom).unwrap_or_default().to_owned();
    match metadata.name.split_once(':') {
        Some((FILE, written)) => {
            let path = metadata.source.as_ref().and_then(Source::file_path);
            (ConfigOrigin::File(path.map_or_else(PathBuf::new, PathBuf::from)), written.to_owned())
        }
        _ if metadata.name == ENVIRONMENT => (ConfigOrigin::Variable(custom()), key.to_owned()),
        _ if metadata.name == PROFILE => {
            let profile = ConfigProfile::from_word(&custom());
            (profile.map_or(ConfigOrigin::Default, ConfigOrigin::Profile), key.to_owned())
        }
        _ => (ConfigOrigin::Code, custom()),
    }
}
