use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};

use super::entry::Entry;
use super::names::{ROUTE_TOPICS, ROUTE_URL, find, names, nearest, route_id, route_key};
use super::redact::{may_be_url, shown_value, shown_word};
use super::{ConfigError, ConfigOrigin};

/// A file that was read.
#[derive(Default)]
pub(super) struct File {
    pub(super) entries: Vec<Entry>,
    /// The routes in their order: what keys and variables call them, and what the file calls them.
    pub(super) routes: Vec<(String, String)>,
}

impl File {
    /// # Errors
    ///
    /// A file that can't be read, is no TOML, or has an unknown key.
    pub(super) fn read(path: PathBuf, required: bool) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !required => return Ok(Self::default()),
            Err(error) => return Err(ConfigError::file(&path, error.to_string())),
        };
        // Not figment's own way: its error would show the line, and in the line the password.
        let values = Toml::from_str::<Dict>(&text)
            .map_err(|error| syntax_error(&path, &text, error.message(), error.span()))?;
        let mut file = Self::default();
        let origin = ConfigOrigin::File(path);
        file.table("", values, &origin)?;
        Ok(file)
    }

    /// Takes the keys of a table, and of the tables in it.
    fn table(&mut self, table: &str, values: Dict, origin: &ConfigOrigin) -> Result<(), ConfigError> {
        for (name, value) in values {
            let written = if table.is_empty() { name } else { format!("{table}.{name}") };
            if let Some(named) = find(&written) {
                let entry = Entry::new(named.key(), origin.clone(), value).written(&*written);
                if let (Some(id), Some(name)) = (route_of(&entry.key), route_of(&written)) {
                    self.name_route(id, name);
                }
                self.entries.push(entry);
            } else if written == "route" {
                self.list_of_routes(&value, origin)?;
            } else {
                match value {
                    Value::Dict(_, values) if is_table(&written) => self.table(&written, values, origin)?,
                    _ => return Err(unknown(origin, &written)),
                }
            }
        }
        Ok(())
    }

    /// `[[route]]`: the one place where routes have an order.
    fn list_of_routes(&mut self, value: &Value, origin: &ConfigOrigin) -> Result<(), ConfigError> {
        let wrong = |key: String, value: &Value, allowed: &str| {
            let (origin, value) = (origin.clone(), shown_value(value));
            ConfigError::WrongValue { origin, key, value, allowed: format!("allowed: {allowed}") }
        };
        let Some(routes) = value.as_array() else {
            return Err(wrong("route".to_owned(), value, "tables, [[route]]"));
        };
        for (route, number) in routes.iter().zip(1..) {
            let Some(fields) = route.as_dict() else {
                return Err(wrong(format!("route.{number}"), route, "a table, [[route]]"));
            };
            let name = match fields.get("name") {
                None => format!("route-{number}"),
                Some(name) => match name.as_str() {
                    Some(text) if !text.trim().is_empty() && !may_be_url(text) => text.to_owned(),
                    _ => return Err(wrong(format!("route.{number}.name"), name, "a name")),
                },
            };
            let id = route_id(&name);
            if self.routes.iter().any(|(known, _)| *known == id) {
                let value = Value::from(name);
                return Err(wrong(format!("route.{number}.name"), &value, "a name that no other route has"));
            }
            self.routes.push((id.clone(), name));
            for (field, value) in fields {
                let part = match field.as_str() {
                    "name" => continue,
                    "topics" => ROUTE_TOPICS,
                    "transport" | "url" => ROUTE_URL,
                    _ => {
                        return Err(ConfigError::UnknownKey {
                            origin: origin.clone(),
                            key: shown_word(&format!("route.{number}.{field}")),
                            nearest: None,
                            allowed: "allowed are name, topics, transport".to_owned(),
                        });
                    }
                };
                let written = format!("route.{number}.{field}");
                let entry = Entry::new(route_key(&id, part), origin.clone(), value.clone());
                self.entries.push(entry.written(written));
            }
        }
        Ok(())
    }

    fn name_route(&mut self, id: &str, name: &str) {
        if !self.routes.iter().any(|(known, _)| known == id) {
            self.routes.push((id.to_owned(), name.to_owned()));
        }
    }
}

/// What stands between `routes.` and the last dot.
fn route_of(key: &str) -> Option<&str> {
    Some(key.strip_prefix("routes.")?.rsplit_once('.')?.0)
}

/// Whether keys begin with this.
fn is_table(written: &str) -> bool {
    let begins = |name: &str| name.strip_prefix(written).is_some_and(|rest| rest.starts_with('.'));
    // What stands behind "routes." is a name.
    let routes =
        written == "routes" || written.strip_prefix("routes.").is_some_and(|name| !name.contains('.'));
    routes || names().any(begins)
}

fn unknown(origin: &ConfigOrigin, written: &str) -> ConfigError {
    let mut table = written.rsplit_once('.').map_or("", |(table, _)| table);
    if table.starts_with("routes.") {
        table = "routes";
    }
    ConfigError::UnknownKey {
        origin: origin.clone(),
        key: shown_word(written),
        nearest: nearest(written, names().map(str::to_owned)).map(|(_, name)| name),
        allowed: format!("allowed are {}", keys_in(table).join(", ")),
    }
}

/// What may stand in a table.
pub(super) fn keys_in(table: &str) -> Vec<&'static str> {
    if table == "routes" {
        return vec!["<name>.topics", "<name>.url"];
    }
    let mut keys: Vec<&str> = Vec::new();
    for name in names() {
        let inside = if table.is_empty() {
            Some(name)
        } else {
            name.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'))
        };
        let first = inside.map(|rest| rest.split_once('.').map_or(rest, |(first, _)| first));
        keys.extend(first.filter(|first| !keys.contains(first)));
    }
    if table.is_empty() {
        keys.extend(["route", "routes"]);
    }
    keys
}

fn syntax_error(path: &Path, text: &str, problem: &str, span: Option<std::ops::Range<usize>>) -> ConfigError {
    let line =
        span.and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
    ConfigError::file(path, format!("line {line}: {problem}"))
}
