use std::time::Duration;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use outbox_core::{BrokerConfigError, BrokerHost, BrokerUrl, Secret, TlsConfig, UrlParameter};

/// What it is called in errors.
pub(crate) const BROKER: &str = "RabbitMQ";
pub(crate) const SCHEMES: [&str; 2] = ["amqp", "amqps"];

/// A connection that died without a word is noticed after two of them.
const HEARTBEAT_SECONDS: u16 = 10;

/// Where the broker is, and who we are. Its `Debug` output has no credentials.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    hosts: Vec<BrokerHost>,
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) vhost: String,
    pub(crate) tls: TlsConfig,
    pub(crate) connect_timeout: Duration,
}

impl Endpoint {
    pub(crate) const PARAMETERS: [&'static str; 1] = ["connect_timeout"];

    pub(crate) fn new(url: &BrokerUrl) -> Self {
        let mut tls = TlsConfig::default();
        tls.required = url.scheme() == "amqps";
        Self {
            hosts: url.hosts().to_vec(),
            // What a broker has as it is installed.
            user: url.user().unwrap_or("guest").to_owned(),
            password: url.password().cloned().unwrap_or_else(|| Secret::new("guest")),
            vhost: url.path().filter(|path| !path.is_empty()).unwrap_or("/").to_owned(),
            tls,
            connect_timeout: Duration::from_secs(3),
        }
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
        if self.vhost.len() > 255 {
            invalid("vhost", "at most 255 bytes")?;
        }
        positive("connect_timeout", self.connect_timeout)
    }

    /// The addresses, in the order in which they are tried, at first from the first one on.
    pub(crate) fn uris(&self) -> impl Iterator<Item = AMQPUri> {
        let (scheme, port) =
            if self.tls.required { (AMQPScheme::AMQPS, 5671) } else { (AMQPScheme::AMQP, 5672) };
        self.hosts.iter().map(move |host| AMQPUri {
            scheme: scheme.clone(),
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.user.clone(),
                    password: self.password.reveal().to_owned(),
                },
                host: host.name.clone(),
                port: host.port.unwrap_or(port),
            },
            vhost: self.vhost.clone(),
            query: AMQPQueryString { heartbeat: Some(HEARTBEAT_SECONDS), ..AMQPQueryString::default() },
        })
    }

    /// Hosts and ports, for error texts.
    pub(crate) fn addresses(&self) -> String {
        let port = if self.tls.required { 5671 } else { 5672 };
        self.hosts.iter().map(|host| host.address(port)).collect::<Vec<_>>().join(", ")
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

/// A name that fits into AMQP's short strings; the client would panic at a longer one.
pub(crate) fn short(parameter: &'static str, name: &str) -> Result<(), BrokerConfigError> {
    if name.len() > 255 { invalid(parameter, "at most 255 bytes") } else { Ok(()) }
}
