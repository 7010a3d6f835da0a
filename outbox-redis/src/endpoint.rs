use std::time::Duration;

use outbox_core::{BrokerConfigError, BrokerHost, BrokerUrl, Secret, TlsConfig, UrlParameter};

/// What it is called in errors.
pub(crate) const BROKER: &str = "Redis";
pub(crate) const SCHEMES: [&str; 2] = ["redis", "rediss"];
pub(crate) const DEFAULT_PORT: u16 = 6379;

/// Where the server is, and who we are. Its `Debug` output has no credentials.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    hosts: Vec<BrokerHost>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: i64,
    pub(crate) tls: TlsConfig,
    pub(crate) connect_timeout: Duration,
}

impl Endpoint {
    pub(crate) const PARAMETERS: [&'static str; 1] = ["connect_timeout"];

    pub(crate) fn new(url: &BrokerUrl) -> Result<Self, BrokerConfigError> {
        let database = match url.path() {
            None | Some("") => 0,
            Some(path) => path.parse().ok().filter(|number| (0..=65_535).contains(number)).ok_or(
                BrokerConfigError::MalformedUrl {
                    broker: BROKER,
                    problem: "its path is not the number of a database; a / in a password is written %2F"
                        .into(),
                },
            )?,
        };
        let mut tls = TlsConfig::default();
        tls.required = url.scheme() == "rediss";
        Ok(Self {
            hosts: url.hosts().to_vec(),
            user: url.user().map(str::to_owned),
            password: url.password().cloned(),
            database,
            tls,
            connect_timeout: Duration::from_secs(3),
        })
    }

    /// Takes a parameter that belongs here; `false` if it does not.
    pub(crate) fn set(&mut self, parameter: &UrlParameter<'_>) -> Result<bool, BrokerConfigError> {
        if parameter.name() == "connect_timeout" {
            self.connect_timeout = parameter.duration()?;
            return Ok(true);
        }
        self.tls.set(parameter)
    }

    pub(crate) fn check(&self) -> Result<(), BrokerConfigError> {
        self.tls.check(BROKER)?;
        positive("connect_timeout", self.connect_timeout)
    }

    /// Names and ports, in the order in which they are tried.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&str, u16)> {
        self.hosts.iter().map(|host| (host.name.as_str(), host.port.unwrap_or(DEFAULT_PORT)))
    }

    /// Hosts and ports, for error texts.
    pub(crate) fn addresses(&self) -> String {
        self.hosts.iter().map(|host| host.address(DEFAULT_PORT)).collect::<Vec<_>>().join(", ")
    }
}

pub(crate) fn invalid(parameter: &'static str, expected: &'static str) -> Result<(), BrokerConfigError> {
    Err(BrokerConfigError::InvalidValue {
        broker: BROKER,
        parameter: parameter.into(),
        expected: expected.into(),
    })
}

pub(crate) fn positive(parameter: &'static str, time: Duration) -> Result<(), BrokerConfigError> {
    if time.is_zero() { invalid(parameter, "a duration above zero, for example 5s") } else { Ok(()) }
}
