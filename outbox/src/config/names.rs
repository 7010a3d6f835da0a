use super::keys::{KEYS, Key};
use super::redact::may_be_url;

/// What a name of a key leads to.
pub(super) enum Named {
    Key(&'static Key),
    Route(RoutePart),
}

/// `routes.audit.topics`.
pub(super) struct RoutePart {
    pub(super) id: String,
    pub(super) part: &'static str,
}

pub(super) const ROUTE_TOPICS: &str = "topics";
pub(super) const ROUTE_URL: &str = "url";

impl Named {
    /// The key by its first name.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Key(key) => key.name.to_owned(),
            Self::Route(RoutePart { id, part }) => route_key(id, part),
        }
    }
}

/// All names of all keys, except for those of routes.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(Key::names)
}

/// The key that is written like this, by its first or its second name.
pub(super) fn find(written: &str) -> Option<Named> {
    if let Some(key) = KEYS.iter().find(|key| key.names().any(|name| name == written)) {
        return Some(Named::Key(key));
    }
    let (name, part) = written.strip_prefix("routes.")?.rsplit_once('.')?;
    route_part(name, part)
}

/// The key that a variable sets.
pub(super) fn find_variable(name: &str) -> Option<Named> {
    let known = KEYS.iter().find(|key| key.names().any(|key| variable(key) == name));
    if let Some(key) = known {
        return Some(Named::Key(key));
    }
    let (name, part) = name.strip_prefix("OUTBOX_ROUTES_")?.rsplit_once('_')?;
    route_part(name, &part.to_ascii_lowercase())
}

fn route_part(name: &str, part: &str) -> Option<Named> {
    let part = [ROUTE_TOPICS, ROUTE_URL].into_iter().find(|known| *known == part)?;
    // Names of routes are shown everywhere, and a URL may hold a password.
    (!name.is_empty() && !may_be_url(name)).then(|| Named::Route(RoutePart { id: route_id(name), part }))
}

/// The variable that sets a key: `OUTBOX_RELAY_POLL_IDLE` for `relay.poll.idle`.
pub(super) fn variable(key: &str) -> String {
    format!("OUTBOX_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// How a route is known among keys and variables: `audit_log` for "Audit-Log".
pub(super) fn route_id(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

pub(super) fn route_key(id: &str, part: &str) -> String {
    format!("routes.{id}.{part}")
}

/// How little likeness is still a hint.
const LIKE: f64 = 0.6;

/// The known name that is most like this one, and how much, from 0 to 1.
pub(super) fn nearest(written: &str, known: impl Iterator<Item = String>) -> Option<(f64, String)> {
    // What all variables begin with makes none of them alike.
    let bare = |name: &str| name.strip_prefix("OUTBOX_").unwrap_or(name).to_owned();
    let rated =
        known.map(|name| (strsim::normalized_damerau_levenshtein(&bare(written), &bare(&name)), name));
    rated.max_by(|(one, _), (other, _)| one.total_cmp(other)).filter(|(rate, _)| *rate >= LIKE)
}
