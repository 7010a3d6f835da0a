use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// Why the configuration of a broker is refused. No text repeats a value: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerConfigError {
    /// Not a URL of this broker.
    #[error("the {broker} URL is malformed: {problem}")]
    MalformedUrl {
        /// What it was to be a URL of.
        broker: &'static str,
        /// What is wrong.
        problem: Cow<'static, str>,
    },
    /// A misspelt parameter would otherwise be a setting that silently does nothing.
    #[error("the {broker} URL has an unknown parameter {name:?}; allowed are {allowed}")]
    UnknownParameter {
        /// What it was to be a URL of.
        broker: &'static str,
        /// The parameter.
        name: String,
        /// All that there are.
        allowed: String,
    },
    /// A value that can't be used.
    #[error("{parameter} of the {broker} configuration must be {expected}")]
    InvalidValue {
        /// The broker.
        broker: &'static str,
        /// The parameter.
        parameter: Cow<'static, str>,
        /// What it must be.
        expected: Cow<'static, str>,
    },
    /// Settings that make no sense without each other.
    #[error("the {broker} configuration is incomplete: {problem}")]
    Incomplete {
        /// The broker.
        broker: &'static str,
        /// What is missing, and what for.
        problem: Cow<'static, str>,
    },
    /// The client refuses the settings, or a file that they name.
    #[error("the {broker} client refuses its configuration: {problem}")]
    Client {
        /// The broker.
        broker: &'static str,
        /// What the client says, without credentials.
        problem: String,
    },
}

/// A text that no `Debug` output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for the client that has to send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `scheme://user:password@host:port,host2:port/path?parameter=value&…`: what all brokers' URLs have in common.
///
/// User name, password and path are percent-decoded. No error repeats any of the text that may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    broker: &'static str,
    scheme: String,
    user: Option<String>,
    password: Option<Secret>,
    hosts: Vec<BrokerHost>,
    path: Option<String>,
    parameters: Vec<(String, Secret)>,
}

/// One address of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the parts of an address")]
pub struct BrokerHost {
    /// Without the brackets of an IPv6 address.
    pub name: String,
    pub port: Option<u16>,
}

impl BrokerHost {
    /// `host:port`, with brackets around an IPv6 address.
    #[must_use]
    pub fn address(&self, default_port: u16) -> String {
        let port = self.port.unwrap_or(default_port);
        if self.name.contains(':') {
            format!("[{}]:{port}", self.name)
        } else {
            format!("{}:{port}", self.name)
        }
    }
}

impl BrokerUrl {
    /// Reads a URL that must have one of these schemes, which are given in lower case.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::MalformedUrl`].
    pub fn parse(broker: &'static str, url: &str, schemes: &[&str]) -> Result<Self, BrokerConfigError> {
        let malformed = |problem: Cow<'static, str>| BrokerConfigError::MalformedUrl { broker, problem };
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("", url));
        let scheme = scheme.to_ascii_lowercase();
        if !schemes.contains(&scheme.as_str()) {
            let begins: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
            return Err(malformed(format!("it must begin with {}", begins.join(" or ")).into()));
        }
        if rest.contains('#') {
            return Err(malformed("it has a #; in a password write %23".into()));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        if path.is_some_and(|path| path.contains('@')) {
            return Err(malformed("it has an @ in its path; a / in a password is written %2F".into()));
        }
        let decoded = |text: &str, what: &str| match percent_decode_str(text).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(malformed(format!("{what} is not UTF-8 after percent-decoding").into())),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            None => (None, None),
            Some((user, password)) => {
                let password = decoded(password, "the password")?;
                let hidden = (!password.is_empty()).then(|| Secret::new(password));
                (Some(decoded(user, "the user name")?).filter(|user| !user.is_empty()), hidden)
            }
        };
        let hosts = hosts.split(',').map(host).collect::<Option<Vec<_>>>();
        let hosts = hosts.ok_or_else(|| malformed("a server is not host or host:port".into()))?;
        let path = path.map(|path| decoded(path, "the path")).transpose()?;
        let parameters = form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into_owned(), Secret::new(value)))
            .collect();
        Ok(Self { broker, scheme, user, password, hosts, path, parameters })
    }

    /// The scheme, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user name.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The servers, at least one.
    #[must_use]
    pub fn hosts(&self) -> &[BrokerHost] {
        &self.hosts
    }

    /// What stands behind the slash; `None` if there is no slash.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The parameters, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = UrlParameter<'_>> {
        self.parameters.iter().map(|(name, value)| UrlParameter {
            broker: self.broker,
            name,
            value: value.reveal(),
        })
    }

    /// The error for a parameter that does not exist.
    #[must_use]
    pub fn unknown(&self, parameter: &UrlParameter<'_>, allowed: &[&str]) -> BrokerConfigError {
        let name = parameter.name;
        // Half a password stands here if it holds an unescaped "?".
        let plain = name.len() <= 32 && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        BrokerConfigError::UnknownParameter {
            broker: self.broker,
            name: if plain { name.to_owned() } else { "…".to_owned() },
            allowed: allowed.join(", "),
        }
    }

    /// The error for a URL that has a path where the broker knows none.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::MalformedUrl`] if there is a path that is not empty.
    pub fn without_path(&self) -> Result<(), BrokerConfigError> {
        match self.path() {
            None | Some("") => Ok(()),
            Some(_) => Err(BrokerConfigError::MalformedUrl {
                broker: self.broker,
                problem: "it has a path; a / in a password is written %2F".into(),
            }),
        }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the parameters: behind an unescaped "?" in a password stands the rest of it.
        f.debug_struct("BrokerUrl")
            .field("scheme", &self.scheme)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

fn host(text: &str) -> Option<BrokerHost> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']')?;
            if port.is_empty() { (name, None) } else { (name, Some(port.strip_prefix(':')?)) }
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let port = port.map(str::parse).transpose().ok()?;
    Some(BrokerHost { name: name.to_owned(), port })
}

/// A parameter of a [`BrokerUrl`].
#[derive(Clone, Copy)]
pub struct UrlParameter<'a> {
    broker: &'static str,
    name: &'a str,
    value: &'a str,
}

impl<'a> UrlParameter<'a> {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Its value.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.value
    }

    /// Its value as a list that is separated by commas.
    pub fn list(&self) -> impl Iterator<Item = &'a str> {
        self.value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::InvalidValue`], as for all that follow.
    pub fn flag(&self) -> Result<bool, BrokerConfigError> {
        self.parsed("true or false")
    }

    /// A number within limits.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::InvalidValue`].
    pub fn number<T>(&self, range: RangeInclusive<T>) -> Result<T, BrokerConfigError>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let number = self.value.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| self.invalid(format!("{} to {}", range.start(), range.end())))
    }

    /// A duration above zero, as people write it: `500ms`, `2min`.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::InvalidValue`].
    pub fn duration(&self) -> Result<Duration, BrokerConfigError> {
        let duration = humantime::parse_duration(self.value).ok().filter(|duration| !duration.is_zero());
        duration.ok_or_else(|| self.invalid("a duration above zero, for example 500ms or 2min"))
    }

    /// Any other value.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::InvalidValue`] with what was expected.
    pub fn parsed<T: FromStr>(&self, expected: &'static str) -> Result<T, BrokerConfigError> {
        self.value.parse().map_err(|_| self.invalid(expected))
    }

    /// The error for a value that can't be used.
    #[must_use]
    pub fn invalid(&self, expected: impl Into<Cow<'static, str>>) -> BrokerConfigError {
        BrokerConfigError::InvalidValue {
            broker: self.broker,
            parameter: self.name.to_owned().into(),
            expected: expected.into(),
        }
    }
}

impl fmt::Debug for UrlParameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlParameter").finish_non_exhaustive()
    }
}

/// How a connection is encrypted: the parameters `tls`, `tls_ca`, `tls_cert` and `tls_key`, the same for every broker.
///
/// There is nothing between "not at all" and "verified": an encrypted connection always verifies the chain and the
/// name of the host, and never falls back to plain text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConfig {
    /// Whether the connection is encrypted.
    pub required: bool,
    /// A PEM file with the certificates to trust instead of those of the system.
    pub ca: Option<PathBuf>,
    /// A PEM file with the client's own certificate (mTLS).
    pub cert: Option<PathBuf>,
    /// A PEM file with the key of [`TlsConfig::cert`].
    pub key: Option<PathBuf>,
}

impl TlsConfig {
    /// The names of the parameters.
    pub const PARAMETERS: [&'static str; 4] = ["tls", "tls_ca", "tls_cert", "tls_key"];

    /// Takes a parameter that belongs here; `false` if it does not.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::InvalidValue`].
    pub fn set(&mut self, parameter: &UrlParameter<'_>) -> Result<bool, BrokerConfigError> {
        let file = || match parameter.text() {
            "" => Err(parameter.invalid("the path of a PEM file")),
            path => Ok(Some(PathBuf::from(path))),
        };
        match parameter.name() {
            "tls" => match parameter.text() {
                "required" => self.required = true,
                // The scheme of the URL has asked for it, or the same parameter.
                "off" if self.required => {
                    return Err(parameter.invalid("required, as the URL says elsewhere"));
                }
                "off" => {}
                _ => return Err(parameter.invalid("required or off")),
            },
            "tls_ca" => self.ca = file()?,
            "tls_cert" => self.cert = file()?,
            "tls_key" => self.key = file()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::Incomplete`].
    pub fn check(&self, broker: &'static str) -> Result<(), BrokerConfigError> {
        let incomplete =
            |problem: &'static str| Err(BrokerConfigError::Incomplete { broker, problem: problem.into() });
        if self.cert.is_some() != self.key.is_some() {
            return incomplete("tls_cert and tls_key need each other");
        }
        if !self.required && (self.ca.is_some() || self.cert.is_some()) {
            return incomplete("tls_ca, tls_cert and tls_key mean nothing without tls=required");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<BrokerUrl, BrokerConfigError> {
        BrokerUrl::parse("Test", url, &["test", "tests"])
    }

    #[test]
    fn the_parts_are_found_and_decoded() {
        let url = parse("TEST://me:p%40ss@a:1,[::1]:2,c/%2f?x=1%2C2&y=a,,b").unwrap();
        assert_eq!((url.scheme(), url.user()), ("test", Some("me")));
        assert_eq!(url.password().unwrap().reveal(), "p@ss");
        let addresses: Vec<_> = url.hosts().iter().map(|host| host.address(9)).collect();
        assert_eq!(addresses, ["a:1", "[::1]:2", "c:9"]);
        assert_eq!(url.path(), Some("/"));
        let parameters: Vec<_> = url.parameters().collect();
        assert_eq!((parameters[0].name(), parameters[0].text()), ("x", "1,2"));
        assert_eq!(parameters[1].list().collect::<Vec<_>>(), ["a", "b"]);
        let plain = parse("tests://h").unwrap();
        assert_eq!((plain.user(), plain.password(), plain.path()), (None, None, None));
    }

    #[test]
    fn what_is_no_url_says_what_is_wrong() {
        assert_eq!(
            parse("http://h").unwrap_err().to_string(),
            "the Test URL is malformed: it must begin with test:// or tests://"
        );
        for bad in
            ["test://", "test://h:port", "test://a,,b", "h:1", "test://[::1", "test://h:70000", "test://a b"]
        {
            assert!(parse(bad).is_err(), "{bad} was accepted");
        }
        assert!(parse("test://h/x").unwrap().without_path().is_err());
    }

    #[test]
    fn values_name_their_parameter_and_what_is_allowed() {
        let url = parse("test://h?n=7&t=5&f=yes&nonsense=1&%3F%3F=x").unwrap();
        let parameters: Vec<_> = url.parameters().collect();
        assert_eq!(
            parameters[0].number(1..=5_u8).unwrap_err().to_string(),
            "n of the Test configuration must be 1 to 5"
        );
        assert_eq!(
            parameters[1].duration().unwrap_err().to_string(),
            "t of the Test configuration must be a duration above zero, for example 500ms or 2min"
        );
        assert!(parameters[2].flag().is_err());
        assert_eq!(
            url.unknown(&parameters[3], &["n", "t"]).to_string(),
            "the Test URL has an unknown parameter \"nonsense\"; allowed are n, t"
        );
        assert!(url.unknown(&parameters[4], &[]).to_string().contains("\"…\""));
    }

    #[test]
    fn no_text_repeats_a_password() {
        const CANARY: &str = "c4nary";
        for text in [
            "test://u:c4nary@h",
            "test://:c4nary@h",
            "test://u:c4nary@h:x",
            "test://u:c4nary/@h",
            "test://u:c4nary#@h",
            "test://u:c4nary?@h",
            "test://u:1?c4nary@h",
            "test://u:c4nary%ff@h",
            "http://u:c4nary@h",
            "test://u@h?password=c4nary",
        ] {
            let shown = match parse(text) {
                Ok(url) => {
                    let unknown: Vec<_> = url.parameters().map(|p| url.unknown(&p, &[])).collect();
                    format!("{url:?} {:?} {unknown:?}", url.parameters().collect::<Vec<_>>())
                }
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains(CANARY), "{shown}");
        }
    }

    #[test]
    fn tls_is_off_or_verified() {
        let tls = |query: &str| {
            let url = parse(&format!("test://h?{query}")).unwrap();
            let mut tls = TlsConfig::default();
            for parameter in url.parameters() {
                assert!(tls.set(&parameter)?);
            }
            tls.check("Test").map(|()| tls)
        };
        assert!(tls("tls=required&tls_ca=/ca.pem&tls_cert=/c.pem&tls_key=/k.pem").unwrap().required);
        assert!(!tls("tls=off").unwrap().required);
        assert!(tls("tls=required&tls=off").is_err());
        assert!(tls("tls=prefer").unwrap_err().to_string().contains("required or off"));
        assert!(tls("tls=required&tls_cert=/c.pem").is_err());
        assert!(tls("tls_ca=/ca.pem").is_err());
    }
}
