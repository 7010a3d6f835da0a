use std::path::PathBuf;

use super::entry::Entry;
use super::environment::Environment;
use super::file::File;
use super::loader::Loader;
use super::names::{find, names, nearest};
use super::redact::shown_word;
use super::{Config, ConfigError, ConfigOrigin, keys};

/// Where a configuration comes from. Whatever the order of the calls: what code sets wins over the environment, that
/// over the file, that over the profile, that over the defaults.
#[derive(Default)]
#[must_use = "nothing is read before `load`"]
pub struct ConfigSources {
    file: Option<(PathBuf, bool)>,
    variables: Vec<(String, String)>,
    code: Vec<(String, String)>,
}

impl ConfigSources {
    /// A file, which must exist.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some((path.into(), true));
        self
    }

    /// A file that may be missing.
    pub fn file_if_exists(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some((path.into(), false));
        self
    }

    /// The variables of this process.
    pub fn environment(self) -> Self {
        // Names and values that are no text can't be ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        self.variables(variables)
    }

    /// These variables instead of those of this process.
    pub fn variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables.extend(variables);
        self
    }

    /// Sets a key, written as in the environment: a flag of a command line, for example.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.code.push((key.into(), value.into()));
        self
    }

    /// [`ConfigSources::set`] if there is a value.
    pub fn set_if_some(self, key: impl Into<String>, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    /// Reads and checks everything, and logs the warnings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a file that can't be read or is no TOML, an unknown key, a value that is not allowed, or
    /// values that do not go together.
    pub fn load(self) -> Result<Config, ConfigError> {
        let file = match self.file {
            Some((path, required)) => File::read(path, required)?,
            None => File::default(),
        };
        let environment = Environment::read(self.variables)?;
        let code =
            self.code.into_iter().map(|(key, text)| by_code(&key, &text)).collect::<Result<Vec<_>, _>>()?;

        // The lowest first; within one source a key may have one name only.
        let mut loader = Loader::default();
        loader.add(file.entries)?;
        loader.add(environment.word.into_iter().collect())?;
        loader.add(environment.entries)?;
        loader.add(code)?;
        let mut config = loader.load(&file.routes)?;
        config.warnings.splice(..0, environment.warnings);
        for warning in &config.warnings {
            tracing::warn!("configuration: {warning}");
        }
        Ok(config)
    }
}

fn by_code(key: &str, text: &str) -> Result<Entry, ConfigError> {
    let Some(named) = find(key) else {
        let known: Vec<_> = names().collect();
        return Err(ConfigError::UnknownKey {
            origin: ConfigOrigin::Code,
            key: shown_word(key),
            nearest: nearest(key, names().map(str::to_owned)).map(|(_, name)| name),
            allowed: format!("allowed are {}, routes.<name>.topics, routes.<name>.url", known.join(", ")),
        });
    };
    Ok(Entry::new(named.key(), ConfigOrigin::Code, keys::typed(&named, text)).written(key))
}

impl std::fmt::Debug for ConfigSources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values hold URLs, and the variables those of everybody else in this process.
        f.debug_struct("ConfigSources").field("file", &self.file).finish_non_exhaustive()
    }
}
