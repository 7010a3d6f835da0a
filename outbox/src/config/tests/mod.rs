mod documentation;
mod errors;
mod order;
mod profiles;
mod publisher;
mod relay;
mod round_trip;
mod routes;
mod rules;
mod secrets;

use std::time::Duration;

use super::setting::Setting;
use super::{Config, ConfigSources};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn variables(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A folder with this `outbox.toml`.
struct Toml {
    folder: tempfile::TempDir,
}

impl Toml {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("outbox.toml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("outbox.toml")
    }

    fn sources(&self) -> ConfigSources {
        Config::sources().file(self.path())
    }

    /// The path of the file is written `FILE`.
    fn load(&self, sources: ConfigSources) -> Result<Config, String> {
        let path = self.path();
        sources.load().map_err(|error| error.to_string().replace(&*path.to_string_lossy(), "FILE"))
    }
}

fn from_file(toml: &str) -> Result<Config, String> {
    let file = Toml::new(toml);
    file.load(file.sources())
}

fn from_environment(names: &[(&str, &str)]) -> Result<Config, String> {
    Config::sources().variables(variables(names)).load().map_err(|error| error.to_string())
}

fn from_code(key: &str, value: &str) -> Result<Config, String> {
    Config::sources().set(key, value).load().map_err(|error| error.to_string())
}

fn setting(config: &Config, key: &str) -> Setting {
    config.settings().into_iter().find(|setting| setting.key == key).unwrap()
}

/// `value from origin`, as `outbox config show` says it.
fn shown(config: &Config, key: &str) -> String {
    let setting = setting(config, key);
    format!("{} from {}", setting.value, setting.origin)
}
