use std::fmt;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use outbox_core::{BrokerConfigError, BrokerUrl, Secret, TlsConfig, UrlParameter};

use crate::tls;

/// What configuration errors call the broker.
pub(crate) const BROKER: &str = "NATS";

pub(crate) const SCHEMES: [&str; 2] = ["nats", "tls"];

const PORT: u16 = 4222;

/// Where the broker is, who we are there, and how the connection is encrypted: what publishing and subscribing have in
/// common. Its `Debug` output has no credentials.
#[derive(Clone)]
pub(crate) struct Endpoint {
    servers: Vec<ServerAddr>,
    /// Hosts and ports, for texts.
    addresses: String,
    pub(crate) auth: Auth,
    pub(crate) name: String,
    pub(crate) tls: TlsConfig,
    pub(crate) tls_first: bool,
    pub(crate) connect_timeout: Duration,
    /// For every question to the broker. Nobody asks without a deadline of its own, so this one is for a forgotten one.
    pub(crate) request_timeout: Duration,
}

#[derive(Clone)]
pub(crate) enum Auth {
    Nobody,
    Token(Secret),
    User { name: String, password: Secret },
}

impl Endpoint {
    pub(crate) const PARAMETERS: [&'static str; 7] =
        ["name", "connect_timeout", "tls", "tls_ca", "tls_cert", "tls_key", "tls_first"];

    /// `nats://user:password@host:4222,host2:4222`, with `tls://` for TLS and `token@` for a token.
    pub(crate) fn new(url: &BrokerUrl) -> Result<Self, BrokerConfigError> {
        url.without_path()?;
        let addresses: Vec<_> = url.hosts().iter().map(|host| host.address(PORT)).collect();
        let server = |address: &String| format!("nats://{address}").parse::<ServerAddr>().ok();
        let servers = addresses.iter().map(server).collect::<Option<_>>().ok_or_else(|| {
            let problem = "a server is not host or host:port".into();
            BrokerConfigError::MalformedUrl { broker: BROKER, problem }
        })?;
        let auth = match (url.user(), url.password()) {
            (None, None) => Auth::Nobody,
            (Some(token), None) => Auth::Token(Secret::new(token)),
            (user, Some(password)) => {
                Auth::User { name: user.unwrap_or_default().to_owned(), password: password.clone() }
            }
        };
        let mut tls = TlsConfig::default();
        tls.required = url.scheme() == "tls";
        Ok(Self {
            servers,
            addresses: addresses.join(", "),
            auth,
            name: "outbox".to_owned(),
            tls,
            tls_first: false,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(5),
        })
    }

    /// Takes a parameter that belongs here; `false` if it does not.
    pub(crate) fn set(&mut self, parameter: &UrlParameter<'_>) -> Result<bool, BrokerConfigError> {
        match parameter.name() {
            "name" => self.name = parameter.text().to_owned(),
            "connect_timeout" => self.connect_timeout = parameter.duration()?,
            "tls_first" => self.tls_first = parameter.flag()?,
            _ => return self.tls.set(parameter),
        }
        Ok(true)
    }

    pub(crate) fn check(&self) -> Result<(), BrokerConfigError> {
        positive("connect_timeout", self.connect_timeout)?;
        self.tls.check(BROKER)?;
        if self.tls_first && !self.tls.required {
            let problem = "tls_first means nothing without tls=required".into();
            return Err(BrokerConfigError::Incomplete { broker: BROKER, problem });
        }
        Ok(())
    }

    /// Reads the files that are named, so that a wrong one is an error of the start. Each connection reads them anew:
    /// certificates expire.
    pub(crate) fn check_files(&self) -> Result<(), BrokerConfigError> {
        let refused = |problem| BrokerConfigError::Client { broker: BROKER, problem };
        self.options().map(drop).map_err(refused)
    }

    pub(crate) fn addresses(&self) -> &str {
        &self.addresses
    }

    pub(crate) fn servers(&self) -> Vec<ServerAddr> {
        self.servers.clone()
    }

    /// # Errors
    ///
    /// A text, if a certificate can't be read.
    pub(crate) fn options(&self) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .connection_timeout(self.connect_timeout)
            .request_timeout(Some(self.request_timeout))
            // A connection that died without a word is noticed after three of them.
            .ping_interval(Duration::from_secs(10));
        options = match &self.auth {
            Auth::Nobody => options,
            Auth::Token(token) => options.token(token.reveal().to_owned()),
            Auth::User { name, password } => {
                options.user_and_password(name.clone(), password.reveal().to_owned())
            }
        };
        if !self.tls.required {
            return Ok(options);
        }
        options = options.require_tls(true).tls_client_config(tls::client_config(&self.tls)?);
        Ok(if self.tls_first { options.tls_first() } else { options })
    }
}

/// The methods of both configurations that set something of their endpoint.
macro_rules! endpoint_methods {
    () => {
        /// Logs in with a user name and a password.
        #[must_use]
        pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
            self.endpoint.auth = $crate::endpoint::Auth::User {
                name: name.into(),
                password: ::outbox_core::Secret::new(password.into()),
            };
            self
        }

        /// Logs in with a token.
        #[must_use]
        pub fn token(mut self, token: impl Into<String>) -> Self {
            self.endpoint.auth = $crate::endpoint::Auth::Token(::outbox_core::Secret::new(token.into()));
            self
        }

        /// What the connection is called in the server's monitoring; `outbox` by default.
        #[must_use]
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.endpoint.name = name.into();
            self
        }

        /// Encrypts the connection and verifies the server, or does neither; `tls://` in place of `nats://` is the same as
        /// `tls=required`. A server that does not encrypt is refused, and never told a password.
        #[must_use]
        pub fn tls(mut self, required: bool) -> Self {
            self.endpoint.tls.required = required;
            self
        }

        /// A PEM file with the certificates to trust instead of those of the system.
        #[must_use]
        pub fn tls_ca(mut self, path: impl Into<::std::path::PathBuf>) -> Self {
            self.endpoint.tls.ca = Some(path.into());
            self
        }

        /// A PEM file with our own certificate, for a server that asks for it.
        #[must_use]
        pub fn tls_cert(mut self, path: impl Into<::std::path::PathBuf>) -> Self {
            self.endpoint.tls.cert = Some(path.into());
            self
        }

        /// A PEM file with the key of [`Self::tls_cert`].
        #[must_use]
        pub fn tls_key(mut self, path: impl Into<::std::path::PathBuf>) -> Self {
            self.endpoint.tls.key = Some(path.into());
            self
        }

        /// The server encrypts from the first byte (`handshake_first`), or something in front of it does; by default it
        /// says in plain text who it is, and then encrypts.
        #[must_use]
        pub fn tls_first(mut self, first: bool) -> Self {
            self.endpoint.tls_first = first;
            self
        }

        /// How long one address may take to connect; 3 seconds by default.
        #[must_use]
        pub fn connect_timeout(mut self, time: ::std::time::Duration) -> Self {
            self.endpoint.connect_timeout = time;
            self
        }
    };
}

pub(crate) use endpoint_methods;

pub(crate) fn positive(parameter: &'static str, time: Duration) -> Result<(), BrokerConfigError> {
    if time.is_zero() {
        return invalid(parameter, "a duration above zero, for example 3s");
    }
    Ok(())
}

pub(crate) fn invalid(parameter: &'static str, expected: &'static str) -> Result<(), BrokerConfigError> {
    Err(BrokerConfigError::InvalidValue {
        broker: BROKER,
        parameter: parameter.into(),
        expected: expected.into(),
    })
}

/// The name of a stream becomes part of the subjects of the JetStream API.
pub(crate) fn check_stream_name(name: &str) -> Result<(), BrokerConfigError> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>' | '/' | '\\');
    if name.is_empty() || !name.chars().all(plain) {
        return invalid("stream", "a stream name: visible ASCII without . * > / \\");
    }
    Ok(())
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("servers", &self.addresses)
            .field("auth", &self.auth)
            .field("name", &self.name)
            .field("tls", &self.tls)
            .field("tls_first", &self.tls_first)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "none",
            Self::Token(_) => "token",
            Self::User { .. } => "user and password",
        })
    }
}
