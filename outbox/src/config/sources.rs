use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map};
use figment::{Error, Figment, Metadata, Profile, Provider};

use super::document::Document;
use super::environment::{CODE, Texts};
use super::keys::KEYS;
use super::{Config, ConfigError};

/// Where a configuration comes from. Whatever the order of the calls: what code sets wins over the environment, that
/// over the file, that over the defaults.
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

    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a file that can't be read or is no TOML, an unknown key, or a value that is not allowed.
    pub fn load(self) -> Result<Config, ConfigError> {
        let mut figment = Figment::new();
        if let Some((path, required)) = self.file
            && let Some(file) = File::read(path, required)?
        {
            figment = figment.merge(file);
        }
        let environment = Texts::from_variables(self.variables)
            .map_err(|variable| ConfigError::unknown_variable(&variable))?;
        if let Some((key, _)) = self.code.iter().find(|(key, _)| !KEYS.iter().any(|(known, _)| known == key))
        {
            return Err(ConfigError::unknown_key(key));
        }
        let code = Texts { origin: CODE, values: self.code };
        let config = figment.merge(environment).merge(code).extract::<Document>()?.into_config();
        config.relay.validate([]).map_err(|error| ConfigError::new("configuration", error.to_string()))?;
        Ok(config)
    }
}

impl std::fmt::Debug for ConfigSources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values hold URLs, and the variables those of everybody else in this process.
        f.debug_struct("ConfigSources").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A file that was read.
struct File {
    path: PathBuf,
    values: Dict,
}

impl File {
    fn read(path: PathBuf, required: bool) -> Result<Option<Self>, ConfigError> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !required => return Ok(None),
            Err(error) => return Err(ConfigError::file(&path, error.to_string())),
        };
        // Not figment's own way: its error would show the line, and in the line the password.
        match Toml::from_str::<Dict>(&text) {
            Ok(values) => Ok(Some(Self { path, values })),
            Err(error) => Err(syntax_error(&path, &text, error.message(), error.span())),
        }
    }
}

fn syntax_error(path: &Path, text: &str, problem: &str, span: Option<std::ops::Range<usize>>) -> ConfigError {
    let line =
        span.and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
    ConfigError::file(path, format!("line {line}: {problem}"))
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::from("TOML file", self.path.as_path())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}
