use std::fmt;

use super::keys::{KEYS, Key};
use super::names::{ROUTE_TOPICS, ROUTE_URL, route_id, route_key};
use super::redact::shown_url;
use super::{Config, ConfigOrigin};

/// What a key is set to, and by whom. Nothing in it has credentials.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Setting {
    /// The key, for example `relay.batch_size`.
    pub key: String,
    /// Its value; of a URL only what can't be secret.
    pub value: SettingValue,
    /// Where the value comes from.
    #[serde(flatten)]
    pub origin: ConfigOrigin,
}

/// A value of the configuration, written as in the file.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum SettingValue {
    /// Not set.
    None,
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(u64),
    /// A fraction.
    Fraction(f64),
    /// A word, a duration, a URL.
    Text(String),
    /// Several of them.
    List(Vec<String>),
}

/// A value as it was when the configuration was loaded.
#[derive(Clone, PartialEq)]
pub(super) struct Loaded {
    pub(super) origin: ConfigOrigin,
    /// The key as it was written there.
    pub(super) written: String,
    /// With its credentials.
    pub(super) value: SettingValue,
}

impl Config {
    /// The effective configuration: each key in the order of the reference, the routes at the end. What the program has
    /// changed since it was loaded comes from [`ConfigOrigin::Code`].
    ///
    /// No value has credentials: of a URL only what can't be secret is left.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let (mut now, mut default) = (self.clone(), Self::default());
        let known = KEYS.iter().map(|key: &Key| {
            let (value, default) = (key.read(&mut now), key.read(&mut default));
            self.setting(key.name.to_owned(), value, Some(&default), key.is_url)
        });
        let routes = self.routes.iter().flat_map(|route| {
            let id = route_id(&route.name);
            let topics = route.topics.iter().map(ToString::to_string).collect();
            let url = SettingValue::Text(route.url.clone());
            [
                self.setting(route_key(&id, ROUTE_TOPICS), SettingValue::List(topics), None, false),
                self.setting(route_key(&id, ROUTE_URL), url, None, true),
            ]
        });
        known.chain(routes).collect()
    }

    fn setting(
        &self,
        key: String,
        value: SettingValue,
        default: Option<&SettingValue>,
        is_url: bool,
    ) -> Setting {
        let origin = match self.loaded.get(&key) {
            Some(loaded) if loaded.value == value => loaded.origin.clone(),
            None if default == Some(&value) => ConfigOrigin::Default,
            _ => ConfigOrigin::Code,
        };
        let value = match value {
            SettingValue::Text(url) if is_url => SettingValue::Text(shown_url(&url)),
            other => other,
        };
        Setting { key, value, origin }
    }
}

impl fmt::Display for SettingValue {
    /// A list is separated by commas; what is not set is a dash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::Flag(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Fraction(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
            Self::List(values) => f.write_str(&values.join(", ")),
        }
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}
