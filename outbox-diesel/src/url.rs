use outbox_core::{StoreError, StoreErrorKind};
use percent_encoding::percent_decode_str;

/// The parts of the URL of a database server. The client library reads the URL by itself; this is only to know where it
/// leads to, and what of it is secret.
pub(crate) struct DatabaseUrl<'u> {
    #[cfg(feature = "postgres")]
    pub(crate) user: &'u str,
    password: Option<&'u str>,
    /// Hosts and ports, separated by commas.
    pub(crate) hosts: &'u str,
    pub(crate) database: &'u str,
    query: &'u str,
}

impl<'u> DatabaseUrl<'u> {
    /// Takes a URL with one of these schemes apart.
    ///
    /// What could be read in more than one way is refused: a client library that reads it differently might take a piece
    /// of the password for a host, and say so in an error.
    pub(crate) fn parse(url: &'u str, schemes: &[&str]) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid(schemes, "it has no scheme"))?;
        if !schemes.contains(&scheme) {
            return Err(invalid(schemes, "it has another scheme"));
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        if userinfo.contains('@') || rest.contains('@') || rest.contains('#') {
            return Err(invalid(
                schemes,
                "`@` must be written as %40, `/` as %2F, `?` as %3F and `#` as %23",
            ));
        }
        let port = |host: &str| match host.rsplit_once(':') {
            Some((_, port)) if !host.ends_with(']') => port.is_empty() || port.parse::<u16>().is_ok(),
            _ => true,
        };
        if !hosts.split(',').all(port) {
            return Err(invalid(schemes, "its port is no number below 65536"));
        }
        let (user, password) = match userinfo.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (userinfo, None),
        };
        #[cfg(not(feature = "postgres"))]
        let _ = user;
        Ok(Self {
            #[cfg(feature = "postgres")]
            user,
            password,
            hosts,
            database: path.trim_start_matches('/'),
            query,
        })
    }

    /// The value of a parameter behind the question mark.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next_back()
    }

    /// The hosts with their ports, each of which may be given in the URL's parameters instead.
    pub(crate) fn at(&self, default_host: &str, default_port: &str) -> String {
        let hosts = match (self.hosts, self.parameter("host").or_else(|| self.parameter("hostaddr"))) {
            (_, Some(host)) => host,
            ("", None) => default_host.to_owned(),
            (hosts, None) => decoded(hosts),
        };
        let port = self.parameter("port").unwrap_or_else(|| default_port.to_owned());
        let with_port = |host: &str| {
            let has_port = host.rsplit_once(':').is_some_and(|_| !host.ends_with(']'));
            if has_port || host.starts_with('/') { host.to_owned() } else { format!("{host}:{port}") }
        };
        hosts.split(',').map(with_port).collect::<Vec<_>>().join(",")
    }

    /// Whatever must not be seen: passwords, as they are written and as they are meant.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let parameters = ["password", "sslpassword"].map(|name| self.parameter(name));
        let written = self.password.map(str::to_owned).into_iter().chain(parameters.into_iter().flatten());
        written.flat_map(|secret| [decoded(&secret), secret]).filter(|secret| !secret.is_empty()).collect()
    }
}

pub(crate) fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// Without the URL: it has a password.
fn invalid(schemes: &[&str], why: &str) -> StoreError {
    let scheme = schemes.first().unwrap_or(&"");
    let text = format!(
        "the URL of the database is not of the form {scheme}://user:password@host:port/database: {why}"
    );
    StoreError::new(StoreErrorKind::Invalid, "connect", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

    fn parse(url: &str) -> DatabaseUrl<'_> {
        DatabaseUrl::parse(url, &SCHEMES).unwrap()
    }

    #[test]
    fn a_url_has_its_parts() {
        let url = parse("postgres://somebody:p%40ss@db.example:5433/shop?sslmode=require&port=1");
        assert_eq!((url.hosts, url.database), ("db.example:5433", "shop"));
        assert_eq!(url.parameter("sslmode").as_deref(), Some("require"));
        assert_eq!(url.secrets(), ["p@ss", "p%40ss"]);
        assert_eq!(url.at("localhost", "5432"), "db.example:5433");
    }

    #[test]
    fn what_a_url_does_not_say_has_a_default() {
        for (url, at) in [
            ("postgres://", "localhost:5432"),
            ("postgres:///shop?host=/run/postgresql", "/run/postgresql"),
            ("postgres://%2Frun%2Fpostgresql/shop", "/run/postgresql"),
            ("postgres://a,b:1/shop?port=7", "a:7,b:1"),
            ("postgresql://[::1]/shop", "[::1]:5432"),
            ("postgresql://[::1]:9/shop", "[::1]:9"),
        ] {
            assert_eq!(parse(url).at("localhost", "5432"), at, "{url}");
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_refused_and_not_repeated() {
        for url in [
            "mysql://u:canary@host/db",
            "canary",
            "postgres://u:canary@host:99999/db",
            "postgres://u:ca@nary@host/db",
            "postgres://u:canary/x@host/db",
            "postgres://u:1/canary@host/db",
            "postgres://u:1?canary@host/db",
            "postgres://u:1#canary@host/db",
        ] {
            let error = DatabaseUrl::parse(url, &SCHEMES).err().expect(url);
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert!(!format!("{error} {error:?}").contains("nary"), "{error}");
        }
    }
}
