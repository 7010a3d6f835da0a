use std::time::Duration;

use outbox_core::{BrokerConfigError, BrokerHost, BrokerUrl, Secret, TlsConfig, UrlParameter};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::types::RDKafkaErrorCode;

use crate::BROKER;
use crate::health::Health;

/// Where the brokers are, who we are, and how the connections are encrypted: what producers and consumers share.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    servers: String,
    login: Option<Login>,
    pub(crate) sasl: Option<Sasl>,
    pub(crate) tls: TlsConfig,
    pub(crate) name: String,
    pub(crate) connect_timeout: Duration,
}

#[derive(Debug, Clone)]
struct Login {
    user: String,
    password: Secret,
}

/// How the user logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sasl {
    /// The password itself: only over TLS, or in a network that is trusted.
    Plain,
    /// A proof of the password. Needs the cargo feature `tls`, whose library does the hashing.
    ScramSha256,
    /// The same with a longer hash.
    ScramSha512,
}

impl Sasl {
    const fn mechanism(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Cluster {
    pub(crate) const PARAMETERS: [&'static str; 3] = ["sasl", "name", "connect_timeout"];

    /// `kafka://user:password@host:9092,host2:9092`.
    pub(crate) fn of(url: &BrokerUrl) -> Result<Self, BrokerConfigError> {
        url.without_path()?;
        let login = match (url.user(), url.password()) {
            (None, None) => None,
            (Some(user), Some(password)) => Some(Login { user: user.to_owned(), password: password.clone() }),
            _ => return Err(incomplete("a user needs a password, and a password a user")),
        };
        let servers: Vec<String> = url.hosts().iter().map(address).collect();
        Ok(Self {
            servers: servers.join(","),
            login,
            sasl: None,
            tls: TlsConfig::default(),
            name: "outbox".to_owned(),
            connect_timeout: Duration::from_secs(3),
        })
    }

    pub(crate) fn log_in(&mut self, user: String, password: String) {
        self.login = Some(Login { user, password: Secret::new(password) });
    }

    /// Takes a parameter that belongs here; `false` if it does not.
    pub(crate) fn set(&mut self, parameter: &UrlParameter<'_>) -> Result<bool, BrokerConfigError> {
        match parameter.name() {
            "sasl" => {
                self.sasl = Some(match parameter.text() {
                    "plain" => Sasl::Plain,
                    "scram-sha-256" => Sasl::ScramSha256,
                    "scram-sha-512" => Sasl::ScramSha512,
                    _ => return Err(parameter.invalid("plain, scram-sha-256 or scram-sha-512")),
                });
            }
            "name" => self.name = parameter.text().to_owned(),
            "connect_timeout" => self.connect_timeout = parameter.duration()?,
            _ => return self.tls.set(parameter),
        }
        Ok(true)
    }

    pub(crate) fn check(&self) -> Result<(), BrokerConfigError> {
        self.tls.check(BROKER)?;
        if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&self.connect_timeout) {
            return Err(invalid("connect_timeout", "1s to 5min"));
        }
        if self.name.is_empty() || !self.name.chars().all(|c| c.is_ascii_graphic()) {
            return Err(invalid("name", "visible ASCII"));
        }
        if self.sasl.is_some() && self.login.is_none() {
            return Err(incomplete("sasl=… needs a user and a password in the URL"));
        }
        if let Some(login) = &self.login
            && (login.user.contains('\0') || login.password.reveal().contains('\0'))
        {
            return Err(incomplete("a user name or a password can't contain NUL"));
        }
        if !cfg!(feature = "tls") {
            if self.tls.required {
                return Err(incomplete(
                    "tls=required needs the cargo feature `kafka-tls` of outbox and of outbox-cli, \
                     which is `tls` of outbox-kafka",
                ));
            }
            if matches!(self.sasl, Some(Sasl::ScramSha256 | Sasl::ScramSha512)) {
                return Err(incomplete(
                    "sasl=scram-… needs the cargo feature `kafka-tls` of outbox and of outbox-cli, \
                     which is `tls` of outbox-kafka",
                ));
            }
        }
        Ok(())
    }

    /// Hosts and ports, for texts.
    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// Why no broker answers, as far as is known.
    pub(crate) fn reason(&self, health: &Health, code: RDKafkaErrorCode) -> String {
        match health.reason() {
            Some(reason) => reason,
            None if self.tls.required => format!("no TLS handshake was completed in time ({code})"),
            None => code.to_string(),
        }
    }

    /// What every client of librdkafka is told.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Info)
            .set("bootstrap.servers", &self.servers)
            .set("client.id", &self.name)
            .set("socket.connection.setup.timeout.ms", millis(self.connect_timeout))
            // A small request must not wait for the acknowledgement of the one before.
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            // The default waits for up to ten seconds after a broker has come back.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            // A topic that springs into being by a typo has one replica and loses messages.
            .set("allow.auto.create.topics", "false")
            .set("security.protocol", self.protocol());
        if self.tls.required {
            config
                .set("enable.ssl.certificate.verification", "true")
                .set("ssl.endpoint.identification.algorithm", "https");
            let files = [
                ("ssl.ca.location", &self.tls.ca),
                ("ssl.certificate.location", &self.tls.cert),
                ("ssl.key.location", &self.tls.key),
            ];
            for (name, file) in files {
                if let Some(file) = file {
                    config.set(name, file.to_string_lossy());
                }
            }
        }
        if let Some(login) = &self.login {
            config
                .set("sasl.mechanisms", self.sasl.unwrap_or(Sasl::Plain).mechanism())
                .set("sasl.username", &login.user)
                .set("sasl.password", login.password.reveal());
        }
        config
    }

    fn protocol(&self) -> &'static str {
        match (self.tls.required, self.login.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        }
    }
}

fn address(host: &BrokerHost) -> String {
    host.address(9092)
}

/// In whole milliseconds, within what librdkafka takes.
pub(crate) fn millis(time: Duration) -> String {
    time.as_millis().clamp(1, i32::MAX as u128).to_string()
}

pub(crate) fn invalid(parameter: &'static str, expected: &'static str) -> BrokerConfigError {
    BrokerConfigError::InvalidValue { broker: BROKER, parameter: parameter.into(), expected: expected.into() }
}

pub(crate) fn incomplete(problem: &'static str) -> BrokerConfigError {
    BrokerConfigError::Incomplete { broker: BROKER, problem: problem.into() }
}
