/// What stands for every password.
pub const SECRET: &str = "c4nary9f2e";

/// The text with [`SECRET`] for the password or the token of each URL in it; nothing if it has none, or [`SECRET`]
/// already.
///
/// A URL ends where white space, a quote or a control character stands, its password at the last `@` before the first of
/// `/?#`.
#[must_use]
pub fn with_secrets(text: &str) -> Option<String> {
    if text.contains(SECRET) {
        return None;
    }
    let mut replaced = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + "://".len());
        replaced.push_str(before);
        let ends = |c: char| c.is_whitespace() || c.is_control() || "/?#'\"\\".contains(c);
        let authority = &url[..url.find(ends).unwrap_or(url.len())];
        rest = url;
        let Some((login, _)) = authority.rsplit_once('@') else {
            continue;
        };
        if let Some((user, _)) = login.split_once(':') {
            replaced.push_str(user);
            replaced.push(':');
        } else if !has_tokens(before) {
            continue;
        }
        replaced.push_str(SECRET);
        rest = &url[login.len()..];
        found = true;
    }
    replaced.push_str(rest);
    found.then_some(replaced)
}

/// To NATS a user without a password is a token.
fn has_tokens(scheme: &str) -> bool {
    let scheme = scheme.to_ascii_lowercase();
    ["nats://", "tls://"].iter().any(|begin| scheme.ends_with(begin))
}

/// # Panics
///
/// If what is shown has [`SECRET`].
pub fn assert_hidden(shown: &str) {
    assert!(!shown.contains(SECRET), "it shows a password: {shown}");
}
