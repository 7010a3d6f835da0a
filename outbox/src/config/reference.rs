use std::fmt::Write as _;

use super::keys::{KEYS, Key};
use super::names::variable;
use super::setting::SettingValue;
use super::{Config, ConfigProfile};

/// What stands before the keys.
const HEAD: &str = include_str!("../docs/reference.md");

/// What the first words of the keys are about.
const SECTIONS: &[(&str, &str)] = &[
    ("", "The whole"),
    ("store", "Where the outbox is"),
    ("transport", "Where its messages go"),
    ("relay", "The relay"),
    ("wakeups", "Wake-ups"),
    ("metrics", "Metrics"),
    ("inbox", "The inbox"),
];

impl Config {
    /// Every key, its variable, what is allowed and its default, as a page of Markdown.
    #[must_use]
    pub fn reference() -> String {
        let mut page = HEAD.replace("{profiles}", profiles().trim_end());
        let mut defaults = Self::default();
        for (section, title) in SECTIONS {
            page.push_str(&format!(
                "\n## {title}\n\n| key | variable | allowed | default | what it is |\n|---|---|---|---|---|\n"
            ));
            for key in KEYS.iter().filter(|key| section_of(key) == *section) {
                page.push_str(&row(key, &mut defaults));
            }
        }
        page
    }
}

fn section_of(key: &Key) -> &'static str {
    key.name.split_once('.').map_or("", |(section, _)| section)
}

fn row(key: &Key, defaults: &mut Config) -> String {
    let code =
        |texts: Vec<String>| texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ");
    let names = code(key.names().map(str::to_owned).collect());
    let variables = code(key.names().map(variable).collect());
    let default = match key.read(defaults) {
        // It is another one in each process.
        SettingValue::Text(_) if key.name == "relay.label" => "host name and process id".to_owned(),
        SettingValue::None => "–".to_owned(),
        SettingValue::List(values) if values.is_empty() => "–".to_owned(),
        SettingValue::Text(text) if text.is_empty() => "–".to_owned(),
        value => format!("`{value}`"),
    };
    // The examples are for errors.
    let allowed = key.allowed(defaults).split(", for example").next().unwrap_or_default();
    format!("| {names} | {variables} | {allowed} | {default} | {} |\n", key.about)
}

fn profiles() -> String {
    let mut table = "| profile | `relay.poll.idle` | `metrics.enabled` |\n|---|---|---|\n".to_owned();
    for profile in ConfigProfile::ALL {
        let (idle, metrics) = profile.values();
        // Writing to a string can't fail.
        let _ = writeln!(table, "| `{profile}` | `{idle}` | `{metrics}` |");
    }
    table
}
