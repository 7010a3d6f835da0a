use super::entry::Entry;
use super::names::{find_variable, names, nearest, variable};
use super::redact::shown_word;
use super::{ConfigError, ConfigOrigin, ConfigProfile, ConfigWarning, keys};

/// What the variables say.
#[derive(Default)]
pub(super) struct Environment {
    /// The profile by `ENVIRONMENT`, which is not ours alone: any variable of ours wins over it.
    pub(super) word: Option<Entry>,
    pub(super) entries: Vec<Entry>,
    pub(super) warnings: Vec<ConfigWarning>,
}

/// How like a key a variable outside of our sections must be to count as misspelt.
const MISSPELT: f64 = 0.75;

impl Environment {
    /// # Errors
    ///
    /// A variable in one of our sections that sets nothing, or one that is almost like ours. Of the rest nobody can know
    /// whose it is: that is a warning.
    pub(super) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut read = Self::default();
        for (name, text) in variables {
            // Compose files pass on what is not set as an empty text.
            if text.is_empty() {
                continue;
            }
            if name == "ENVIRONMENT" {
                read.set_word(&text);
            } else if let Some(named) = find_variable(&name) {
                let value = keys::typed(&named, &text);
                read.entries.push(Entry::new(named.key(), ConfigOrigin::Variable(name), value));
            } else if let Some(rest) = name.strip_prefix("OUTBOX_").filter(|rest| !is_of_others(rest)) {
                let section = section_of(rest);
                let meant = nearest(&name, names().map(variable));
                let meant = meant.filter(|(rate, _)| section.is_some() || *rate >= MISSPELT);
                if section.is_none() && meant.is_none() {
                    read.warnings.push(ConfigWarning::UnknownVariable { name });
                    continue;
                }
                return Err(unknown(&name, section, meant.map(|(_, name)| name)));
            }
        }
        Ok(read)
    }

    fn set_word(&mut self, text: &str) {
        let profile = ConfigProfile::from_word(text);
        if profile.is_none() {
            let value = shown_word(text).chars().filter(|c| !c.is_control()).take(32).collect();
            self.warnings.push(ConfigWarning::UnknownEnvironment { value });
        }
        let profile = profile.unwrap_or(ConfigProfile::Production);
        let origin = ConfigOrigin::Variable("ENVIRONMENT".to_owned());
        self.word = Some(Entry::new("profile", origin, profile.as_str().into()));
    }
}

/// Names of variables that others set.
fn is_of_others(rest: &str) -> bool {
    // Kubernetes sets OUTBOX_RELAY_PORT and others in every pod beside a service that is called "outbox-relay".
    let kubernetes = rest == "PORT"
        || rest.ends_with("_PORT")
        || ["PORT_", "SERVICE_HOST", "SERVICE_PORT"]
            .iter()
            .any(|part| rest.starts_with(part) || rest.contains(&format!("_{part}")));
    // The tests of this workspace, which others run with their adapters.
    let tests = ["TEST_", "SIM_", "UPDATE_", "REQUIRE_"].iter().any(|start| rest.starts_with(start));
    kubernetes || tests
}

/// The first word, if there are keys that begin with it.
fn section_of(rest: &str) -> Option<&str> {
    let (first, _) = rest.split_once('_')?;
    let begins =
        |name: &str| name.split_once('.').is_some_and(|(section, _)| section.eq_ignore_ascii_case(first));
    (first == "ROUTES" || names().any(begins)).then_some(first)
}

fn unknown(name: &str, section: Option<&str>, nearest: Option<String>) -> ConfigError {
    let allowed = match section {
        Some("ROUTES") => "OUTBOX_ROUTES_<NAME>_TOPICS, OUTBOX_ROUTES_<NAME>_URL".to_owned(),
        section => {
            let start = section.map_or_else(|| "OUTBOX_".to_owned(), |section| format!("OUTBOX_{section}_"));
            let known = names().map(variable).filter(|known| known.starts_with(&start));
            known.collect::<Vec<_>>().join(", ")
        }
    };
    ConfigError::UnknownKey {
        origin: ConfigOrigin::Variable(name.to_owned()),
        key: name.to_owned(),
        nearest,
        allowed: format!("allowed are {allowed}"),
    }
}
