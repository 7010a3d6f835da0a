use std::cell::OnceCell;

use outbox::{Config, ConfigError};
use tempfile::TempDir;

use crate::secrets::{assert_hidden, with_secrets};

/// A file is read or refused, and no error shows a password.
pub fn file(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = (load_file(text.as_bytes()), load_file(input));
    if let Some(text) = with_secrets(&text) {
        check(load_file(text.as_bytes()));
    }
}

/// Variables are read or refused, and no error shows a password. Each line of the input is one, without the `OUTBOX_` of
/// its name.
pub fn environment(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = load_variables(&text);
    if let Some(text) = with_secrets(&text) {
        check(load_variables(&text));
    }
}

/// Whether this is the file of a configuration.
#[must_use]
pub fn is_file(input: &[u8]) -> bool {
    load_file(input).is_ok()
}

/// Whether these are the variables of a configuration.
#[must_use]
pub fn is_environment(input: &[u8]) -> bool {
    load_variables(&String::from_utf8_lossy(input)).is_ok()
}

fn load_file(text: &[u8]) -> Result<Config, ConfigError> {
    thread_local!(static FOLDER: OnceCell<TempDir> = const { OnceCell::new() });
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder for one file"));
        let path = folder.path().join("outbox.toml");
        std::fs::write(&path, text).expect("a file in it");
        Config::sources().file(path).load()
    })
}

fn load_variables(text: &str) -> Result<Config, ConfigError> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    // The names of variables are letters, digits and underscores: a URL is never one.
    let names = pairs.filter(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    let variables = names.map(|(name, value)| {
        let name = if name == "ENVIRONMENT" { name.to_owned() } else { format!("OUTBOX_{name}") };
        (name, value.to_owned())
    });
    Config::sources().variables(variables).load()
}

/// Of a text in which all passwords are known.
fn check(loaded: Result<Config, ConfigError>) {
    match loaded {
        Err(error) => assert_hidden(&format!("{error} {error:?} {}", error.origin())),
        Ok(config) => {
            let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
            assert_hidden(&format!("{warnings:?} {:?}", config.warnings));
            let urls = [&config.store.url, &config.transport.url, &config.wakeups.redis_url];
            let routes = config.routes.iter().map(|route| &route.url);
            for url in urls.into_iter().flatten().chain(routes) {
                // Elsewhere than in a URL it is no password.
                let alone = Config::sources().set("transport.url", url.as_str()).load();
                let alone = alone.expect("any text is a URL until somebody connects");
                assert_hidden(&format!("{alone:?} {:?}", alone.settings()));
            }
        }
    }
}
