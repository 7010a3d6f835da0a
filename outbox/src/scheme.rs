use crate::ConnectError;

/// What a URL leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Store,
    Transport,
    Subscription,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Transport => "transport",
            Self::Subscription => "subscription",
        }
    }
}

/// A scheme of URLs, the cargo feature that it needs, and what opens it where that feature is on.
pub(crate) struct Scheme<F> {
    pub(crate) name: &'static str,
    pub(crate) feature: &'static str,
    pub(crate) open: Option<F>,
}

impl<F: Copy> Scheme<F> {
    pub(crate) const fn new(name: &'static str, feature: &'static str, open: Option<F>) -> Self {
        Self { name, feature, open }
    }

    /// What opens this URL. No error repeats more of it than its scheme: the rest may hold a password.
    pub(crate) fn find(schemes: &[Self], role: Role, url: &str) -> Result<F, ConnectError> {
        let known = || schemes.iter().map(|scheme| scheme.name).collect::<Vec<_>>().join(", ");
        let role = role.name();
        let Some(name) = scheme_of(url) else {
            return Err(ConnectError::NoScheme { role, known: known() });
        };
        let Some(scheme) = schemes.iter().find(|scheme| scheme.name == name) else {
            return Err(ConnectError::UnknownScheme { role, scheme: name, known: known() });
        };
        scheme.open.ok_or(ConnectError::FeatureOff { scheme: scheme.name, feature: scheme.feature })
    }
}

/// The part before the first colon, in lower case, if it looks like a scheme.
pub(crate) fn scheme_of(url: &str) -> Option<String> {
    let (scheme, _) = url.trim_start().split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let fits = scheme.len() <= 16 && scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    (fits && scheme.chars().all(plain)).then(|| scheme.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: &[Scheme<u8>] =
        &[Scheme::new("nats", "nats", None), Scheme::new("memory", "memory", Some(7))];

    fn find(url: &str) -> Result<u8, String> {
        Scheme::find(SCHEMES, Role::Transport, url).map_err(|error| error.to_string())
    }

    #[test]
    fn a_known_scheme_is_found_in_any_case() {
        assert_eq!(find("memory:"), Ok(7));
        assert_eq!(find("Memory://x"), Ok(7));
    }

    #[test]
    fn a_scheme_whose_feature_is_off_names_it() {
        let expected = "the scheme `nats` needs the cargo feature `nats` of the crate `outbox`";
        assert_eq!(find("nats://u:c4nary@h").unwrap_err(), expected);
    }

    #[test]
    fn an_unknown_scheme_names_what_is_known() {
        assert_eq!(
            find("gopher://u:c4nary@h").unwrap_err(),
            "the scheme `gopher` of the transport URL is not known; known are nats, memory"
        );
    }

    #[test]
    fn what_has_no_scheme_is_not_repeated() {
        for url in ["c4nary", "", "c4nary@host:4222", "//c4nary:x@h", "1:c4nary"] {
            let text = find(url).unwrap_err();
            assert_eq!(text, "the transport URL does not begin with a scheme; known are nats, memory");
        }
    }
}
