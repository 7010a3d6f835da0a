use figment::value::Value;
use outbox_core::BrokerUrl;

use crate::scheme::scheme_of;

/// No more than the scheme: what follows may hold a password, also where nobody expects one.
pub(super) fn redacted(url: &str) -> String {
    format!("{}:…", scheme_of(url).unwrap_or_default())
}

/// Parameters of databases and brokers whose values are no secrets. Of all others only `…` is shown, because behind an
/// unescaped `?` or `&` in a password stands the rest of it.
const PLAIN_PARAMETERS: &[&str] = &[
    "application_name",
    "batch_bytes",
    "cache",
    "channels",
    "charset",
    "compression",
    "connect_timeout",
    "create",
    "duplicate_window",
    "envelope",
    "exchange",
    "gapless",
    "immutable",
    "linger",
    "max_in_flight",
    "max_message_bytes",
    "maxlen",
    "mode",
    "name",
    "partitioner",
    "partitions",
    "prefix",
    "publish_timeout",
    "queue_messages",
    "queue_type",
    "replicas",
    "replication",
    "sasl",
    "source",
    "ssl-ca",
    "ssl-mode",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "stream",
    "strict",
    "subjects",
    "timezone",
    "tls",
    "tls_ca",
    "tls_cert",
    "tls_first",
    "tls_key",
    "unroutable",
    "vfs",
    "wait",
    "wait_timeout",
];

/// A URL without what may be secret: `nats://***@host:4222?stream=ORDERS`. What does not look like a URL is cut down to
/// its scheme.
pub(super) fn shown_url(url: &str) -> String {
    let scheme = scheme_of(url).unwrap_or_default();
    let shown = if scheme == "sqlite" { sqlite(url) } else { server(url, &scheme) };
    shown.unwrap_or_else(|| redacted(url))
}

fn server(url: &str, scheme: &str) -> Option<String> {
    let rest = url.trim().get(scheme.len()..).filter(|_| !scheme.is_empty())?;
    if matches!(rest, ":" | "://") {
        return Some(url.trim().to_owned());
    }
    let parsed = BrokerUrl::parse("", url, &[scheme]).ok()?;
    // An @ behind the ? ends a password that holds a ? itself.
    if rest.split_once('?').is_some_and(|(_, query)| query.contains('@')) {
        return None;
    }
    // A user without a password may be a token.
    let login = match (parsed.user(), parsed.password()) {
        (Some(user), Some(_)) if is_plain(user) => format!("{user}:***@"),
        (None, None) if !rest.contains('@') => String::new(),
        _ => "***@".to_owned(),
    };
    let address = |host: &outbox_core::BrokerHost| {
        let name = if host.name.contains(':') { format!("[{}]", host.name) } else { host.name.clone() };
        host.port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"))
    };
    let hosts = parsed.hosts().iter().map(address).collect::<Vec<_>>().join(",");
    let path = match parsed.path() {
        None => String::new(),
        Some(path) if is_plain(path) || path.is_empty() => format!("/{path}"),
        Some(_) => "/…".to_owned(),
    };
    let parameters = parsed.parameters().map(|parameter| (parameter.name(), parameter.text()));
    Some(format!("{scheme}://{login}{hosts}{path}{}", query(parameters)))
}

/// `sqlite:` has a file instead of servers.
fn sqlite(url: &str) -> Option<String> {
    let (file, parameters) = url.trim().split_once('?').unwrap_or((url.trim(), ""));
    if url.contains('@') {
        return None;
    }
    let parameters = parameters.split('&').filter(|parameter| !parameter.is_empty());
    Some(format!(
        "{file}{}",
        query(parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, ""))))
    ))
}

fn query<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let shown = parameters.map(|(name, value)| match PLAIN_PARAMETERS.contains(&name) && is_plain(value) {
        true => format!("{name}={value}"),
        false => "…".to_owned(),
    });
    let shown = shown.collect::<Vec<_>>().join("&");
    if shown.is_empty() { shown } else { format!("?{shown}") }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./,".contains(c))
}

/// How much of a wrong value an error repeats.
const LONGEST: usize = 64;

/// A value that is refused, without what may be secret: somebody may have put a URL in the wrong place.
pub(super) fn shown_value(value: &Value) -> String {
    match value {
        Value::String(_, text) => shown_text(text),
        Value::Char(_, c) => format!("{c:?}"),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(number), ..) => number.to_string(),
            (_, Some(number), _) => number.to_string(),
            (.., Some(number)) => number.to_string(),
            _ => "a number".to_owned(),
        },
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(_, values) => {
            let shown = values.iter().map(shown_value).collect::<Vec<_>>().join(", ");
            if shown.len() > 2 * LONGEST { "a list".to_owned() } else { format!("[{shown}]") }
        }
    }
}

/// A key, or any other word, without what may be secret.
pub(super) fn shown_word(text: &str) -> String {
    if may_be_url(text) { shown_url(text) } else { text.to_owned() }
}

/// Whether a text may be a URL that stands in the wrong place.
pub(super) fn may_be_url(text: &str) -> bool {
    text.contains("://") || text.contains('@')
}

fn shown_text(text: &str) -> String {
    if may_be_url(text) {
        return format!("{:?}", shown_url(text));
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
