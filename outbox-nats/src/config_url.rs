use std::str::FromStr;
use std::time::Duration;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

use crate::config::Auth;
use crate::{NatsConfig, NatsConfigError};

const PARAMETERS: &[&str] = &[
    "stream",
    "create",
    "subjects",
    "replicas",
    "duplicate_window",
    "source",
    "name",
    "connect_timeout",
    "publish_timeout",
    "max_in_flight",
];

/// `nats://user:password@host:4222,host2:4222?parameter=value&…`, with `tls://` for TLS and `token@` for a token.
///
/// No error repeats any of the text that may hold a password.
impl FromStr for NatsConfig {
    type Err = NatsConfigError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let malformed = |problem| NatsConfigError::MalformedUrl { problem };
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        if !matches!(scheme, "nats" | "tls") {
            return Err(malformed("it must begin with nats:// or tls://"));
        }
        if rest.contains('#') {
            return Err(malformed("it has a #; in a password write %23"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err(malformed("it has a path; a / in a password is written %2F"));
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let servers: Result<Vec<_>, _> = hosts.split(',').map(|host| server(scheme, host)).collect();
        let mut config = Self::new(servers?, auth(login)?);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            config = set(config, &name, &value)?;
        }
        config.checked()
    }
}

fn server(scheme: &str, host: &str) -> Result<ServerAddr, NatsConfigError> {
    let malformed = NatsConfigError::MalformedUrl { problem: "a server is not host or host:port" };
    match format!("{scheme}://{host}").parse::<ServerAddr>() {
        Ok(server) if !server.host().is_empty() => Ok(server),
        _ => Err(malformed),
    }
}

fn auth(login: &str) -> Result<Auth, NatsConfigError> {
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(NatsConfigError::MalformedUrl {
            problem: "user name or password is not UTF-8 after percent-decoding",
        }),
    };
    Ok(match login.split_once(':') {
        None if login.is_empty() => Auth::Nobody,
        None => Auth::Token(decoded(login)?),
        Some((name, password)) => Auth::User { name: decoded(name)?, password: decoded(password)? },
    })
}

fn set(config: NatsConfig, name: &str, value: &str) -> Result<NatsConfig, NatsConfigError> {
    Ok(match name {
        "stream" => config.stream(value),
        "create" => config.create(parsed("create", value, "true or false")?),
        "subjects" => config.subjects(value.split(',')),
        "replicas" => config.replicas(parsed("replicas", value, "1 to 5")?),
        "duplicate_window" => config.duplicate_window(duration("duplicate_window", value)?),
        "source" => config.source(value),
        "name" => config.name(value),
        "connect_timeout" => config.connect_timeout(duration("connect_timeout", value)?),
        "publish_timeout" => config.publish_timeout(duration("publish_timeout", value)?),
        "max_in_flight" => config.max_in_flight(parsed("max_in_flight", value, "1 to 65536")?),
        _ => {
            return Err(NatsConfigError::UnknownParameter {
                // Half a password stands here if it holds an unescaped "?".
                name: if plain(name) { name.to_owned() } else { "…".to_owned() },
                allowed: PARAMETERS.join(", "),
            });
        }
    })
}

fn plain(name: &str) -> bool {
    name.len() <= 32 && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
}

fn parsed<T: FromStr>(
    parameter: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<T, NatsConfigError> {
    value.parse().map_err(|_| NatsConfigError::InvalidValue { parameter, expected })
}

fn duration(parameter: &'static str, value: &str) -> Result<Duration, NatsConfigError> {
    let expected = "a duration, for example 500ms or 2min";
    humantime::parse_duration(value).map_err(|_| NatsConfigError::InvalidValue { parameter, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str) -> String {
        url.parse::<NatsConfig>().unwrap_err().to_string()
    }

    #[test]
    fn every_parameter_reaches_the_configuration() {
        let config: NatsConfig = "nats://me:p%40ss@a:4222,b:4333,[::1]/?stream=ORDERS&create=true\
            &subjects=orders.>,billing.%3E&replicas=3&duplicate_window=10min&source=/shop&name=shop\
            &connect_timeout=1s&publish_timeout=1500ms&max_in_flight=64"
            .parse()
            .unwrap();
        assert_eq!(config.addresses(), "a:4222, b:4333, ::1:4222");
        assert!(matches!(&config.auth, Auth::User { name, password } if name == "me" && password == "p@ss"));
        assert_eq!(config.stream.as_deref(), Some("ORDERS"));
        assert_eq!(config.subjects, ["orders.>", "billing.>"]);
        assert_eq!((config.create, config.replicas, config.max_in_flight), (true, 3, 64));
        assert_eq!(config.duplicate_window, Duration::from_secs(600));
        assert_eq!(config.publish_timeout, Duration::from_millis(1500));
        assert_eq!(config.connect_timeout, Duration::from_secs(1));
        assert_eq!((config.source.as_str(), config.name.as_str()), ("/shop", "shop"));
        assert!(PARAMETERS.iter().all(|name| *name == "stream" || !error_for(name).contains("unknown")));
    }

    fn error_for(parameter: &str) -> String {
        match format!("nats://h?{parameter}=%00").parse::<NatsConfig>() {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_user_without_password_is_a_token() {
        let config: NatsConfig = "nats://t0ken@h".parse().unwrap();
        assert!(matches!(&config.auth, Auth::Token(token) if token == "t0ken"));
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_is_allowed() {
        assert_eq!(
            error("nats://h?strem=X"),
            "the NATS URL has an unknown parameter \"strem\"; allowed are stream, create, subjects, replicas, \
             duplicate_window, source, name, connect_timeout, publish_timeout, max_in_flight"
        );
        assert_eq!(
            error("nats://h?publish_timeout=5"),
            "publish_timeout of the NATS configuration must be a duration, for example 500ms or 2min"
        );
        assert_eq!(
            error("nats://h?create=true"),
            "create=true of the NATS configuration needs stream=NAME (and subjects=…, for a stream that is missing)"
        );
        assert_eq!(error("http://h"), "the NATS URL is malformed: it must begin with nats:// or tls://");
        for bad in
            ["nats://", "nats://h:port", "nats://a,,b", "nats://h/path", "nats://h?stream=a.b", "h:4222"]
        {
            assert!(bad.parse::<NatsConfig>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn no_text_repeats_the_password() {
        const CANARY: &str = "c4nary";
        for url in [
            "nats://u:c4nary@h",
            "nats://c4nary@h",
            "nats://u:c4nary@h?nonsense=1",
            "nats://u:c4nary@h:x",
            "nats://u:c4nary/@h",
            "nats://u:c4nary#@h",
            "nats://u:c4nary?@h",
            "nats://u:1?c4nary@h",
            "nats://u:c4nary%ff@h",
            "http://u:c4nary@h",
            "nats://u:c4nary@h?create=c4nary",
        ] {
            let text = match url.parse::<NatsConfig>() {
                Ok(config) => format!("{config:?} {config:#?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!text.contains(CANARY), "{text}");
        }
    }
}
