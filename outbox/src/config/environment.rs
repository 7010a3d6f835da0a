use figment::value::{Dict, Map, Tag, Value};
use figment::{Error, Metadata, Profile, Provider};

use super::keys::{KEYS, Kind, variable};

pub(super) const NAME: &str = "environment";
pub(super) const CODE: &str = "code";

/// Texts for known keys, from the environment or from code.
pub(super) struct Texts {
    pub(super) origin: &'static str,
    pub(super) values: Vec<(String, String)>,
}

impl Texts {
    /// What these variables set.
    ///
    /// # Errors
    ///
    /// The name of a variable that looks like ours and is not known. Names outside of our three sections belong to
    /// somebody else (`OUTBOX_TEST_…`, for example).
    pub(super) fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let mut values = Vec::new();
        for (name, value) in variables {
            // Compose files pass on what is not set as an empty text.
            if value.is_empty() || !is_ours(&name) {
                continue;
            }
            match KEYS.iter().find(|(key, _)| variable(key) == name) {
                Some((key, _)) => values.push(((*key).to_owned(), value)),
                None => return Err(name),
            }
        }
        Ok(Self { origin: NAME, values })
    }
}

fn is_ours(name: &str) -> bool {
    let sections = ["OUTBOX_STORE_", "OUTBOX_TRANSPORT_", "OUTBOX_RELAY_"];
    let Some(rest) = sections.iter().find_map(|section| name.strip_prefix(section)) else {
        return false;
    };
    // Kubernetes sets OUTBOX_RELAY_PORT and others in every pod beside a service that is called "outbox-relay".
    let kubernetes = rest == "PORT" || ["PORT_", "SERVICE_"].iter().any(|start| rest.starts_with(start));
    !kubernetes
}

impl Provider for Texts {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut all = Dict::new();
        for (key, text) in &self.values {
            let kind = KEYS.iter().find(|(known, _)| known == key).map_or(Kind::Text, |(_, kind)| *kind);
            insert(&mut all, key, typed(kind, text));
        }
        Ok(Profile::Default.collect(all))
    }
}

fn insert(dict: &mut Dict, key: &str, value: Value) {
    let Some((table, rest)) = key.split_once('.') else {
        dict.insert(key.to_owned(), value);
        return;
    };
    let inner = dict.entry(table.to_owned()).or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
    if let Value::Dict(_, inner) = inner {
        insert(inner, rest, value);
    }
}

/// What can't be read stays a text, and is then refused together with its key.
fn typed(kind: Kind, text: &str) -> Value {
    let text = text.trim();
    let parsed = match kind {
        Kind::Text => None,
        Kind::Number => text.parse::<u64>().ok().map(Value::from),
        Kind::Fraction => text.parse::<f64>().ok().map(Value::from),
        Kind::Flag => text.parse::<bool>().ok().map(Value::from),
        Kind::List => Some(Value::from(text.split(',').map(str::trim).collect::<Vec<_>>())),
    };
    parsed.unwrap_or_else(|| Value::from(text))
}
