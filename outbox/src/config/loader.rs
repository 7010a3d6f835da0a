use figment::Figment;
use figment::value::Value;
use outbox_core::TopicPattern;

use super::entry::{Entry, origin_of};
use super::field::Field;
use super::keys::{KEYS, Key, URL};
use super::names::{ROUTE_TOPICS, ROUTE_URL, route_key};
use super::redact::{shown_url, shown_value};
use super::setting::{Loaded, SettingValue};
use super::{Config, ConfigError, ConfigOrigin, RouteConfig, rules};

/// Puts the sources over each other, and fills a [`Config`] from what is on top.
#[derive(Default)]
pub(super) struct Loader {
    values: Figment,
    config: Config,
}

impl Loader {
    /// Puts a source over those that were added before.
    ///
    /// # Errors
    ///
    /// Two names of one key in the same source: which of them wins would be an accident.
    pub(super) fn add(&mut self, entries: Vec<Entry>) -> Result<(), ConfigError> {
        for (index, entry) in entries.iter().enumerate() {
            let name = |entry: &Entry| match &entry.origin {
                ConfigOrigin::Variable(name) => name.clone(),
                _ => entry.written.clone(),
            };
            let earlier = entries.iter().take(index).find(|earlier| earlier.key == entry.key);
            if let Some(earlier) = earlier.filter(|earlier| name(earlier) != name(entry)) {
                let (origin, key) = (entry.origin.clone(), entry.written.clone());
                return Err(ConfigError::Twice { origin, key, other: name(earlier) });
            }
        }
        self.values = entries.into_iter().fold(std::mem::take(&mut self.values), Figment::merge);
        Ok(())
    }

    /// # Errors
    ///
    /// A value that is not allowed, or values that do not go together.
    pub(super) fn load(mut self, routes: &[(String, String)]) -> Result<Config, ConfigError> {
        let is_profile = |key: &&Key| key.name == "profile";
        for key in KEYS.iter().filter(is_profile) {
            self.set(key)?;
        }
        if let Some(profile) = self.config.profile {
            // Below everything that says something.
            self.values = profile.entries().into_iter().fold(self.values, Figment::join);
        }
        for key in KEYS.iter().filter(|key| !is_profile(key)) {
            self.set(key)?;
        }
        self.set_routes(routes)?;
        rules::complete(&mut self.config)?;
        Ok(self.config)
    }

    fn set(&mut self, key: &Key) -> Result<(), ConfigError> {
        let Ok(value) = self.values.find_value(key.name) else {
            return Ok(());
        };
        let field = (key.field)(&mut self.config);
        let written = field.write(&value);
        let now = field.read();
        if let Err(reason) = written {
            let allowed = key.allowed(&mut self.config);
            return Err(self.refused(key.name, &value, key.is_url, allowed, reason));
        }
        self.remember(key.name, now);
        Ok(())
    }

    fn set_routes(&mut self, in_file: &[(String, String)]) -> Result<(), ConfigError> {
        let Ok(routes) = self.values.find_value("routes") else {
            return Ok(());
        };
        let routes = routes.into_dict().unwrap_or_default();
        let others = routes.keys().filter(|id| !in_file.iter().any(|(known, _)| known == *id));
        let others = others.map(|id| (id.clone(), id.clone()));
        for (id, name) in in_file.iter().cloned().chain(others) {
            let mut topics = Vec::<TopicPattern>::new();
            let mut url = String::new();
            self.set_part(&id, ROUTE_TOPICS, ROUTE_URL, &mut topics)?;
            self.set_part(&id, ROUTE_URL, ROUTE_TOPICS, &mut url)?;
            self.config.routes.push(RouteConfig { name, topics, url });
        }
        Ok(())
    }

    fn set_part(
        &mut self,
        id: &str,
        part: &str,
        other: &str,
        field: &mut dyn Field,
    ) -> Result<(), ConfigError> {
        let key = route_key(id, part);
        let Ok(value) = self.values.find_value(&key) else {
            let other = route_key(id, other);
            let (origin, needed_by) = self.origin(&other);
            return Err(ConfigError::Missing { origin, key, needed_by });
        };
        if let Err(reason) = field.write(&value) {
            let is_url = part == ROUTE_URL;
            let allowed = if is_url { URL } else { field.allowed() };
            return Err(self.refused(&key, &value, is_url, allowed, reason));
        }
        self.remember(&key, field.read());
        Ok(())
    }

    fn origin(&self, key: &str) -> (ConfigOrigin, String) {
        let metadata = self.values.find_metadata(key);
        metadata.map_or_else(|| (ConfigOrigin::Default, key.to_owned()), |found| origin_of(key, found))
    }

    fn remember(&mut self, key: &str, value: SettingValue) {
        let (origin, written) = self.origin(key);
        self.config.loaded.insert(key.to_owned(), Loaded { origin, written, value });
    }

    fn refused(
        &self,
        key: &str,
        value: &Value,
        is_url: bool,
        allowed: &str,
        reason: Option<String>,
    ) -> ConfigError {
        let (origin, key) = self.origin(key);
        let value = match value.as_str() {
            Some(url) if is_url => shown_url(url),
            _ => shown_value(value),
        };
        let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        ConfigError::WrongValue { origin, key, value, allowed: format!("allowed: {allowed}{reason}") }
    }
}
