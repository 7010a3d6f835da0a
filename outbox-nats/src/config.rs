use std::fmt;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};

use crate::NatsConfigError;

/// Where the broker is, who we are, and which stream takes the messages.
///
/// Made from a URL (`"nats://localhost:4222?stream=ORDERS".parse()`) and refined by its methods; every parameter of the
/// URL has a method of the same name. Its `Debug` output has no credentials.
#[derive(Clone)]
pub struct NatsConfig {
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) auth: Auth,
    pub(crate) name: String,
    pub(crate) stream: Option<String>,
    pub(crate) create: bool,
    pub(crate) subjects: Vec<String>,
    pub(crate) replicas: usize,
    pub(crate) duplicate_window: Duration,
    pub(crate) source: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) publish_timeout: Duration,
    pub(crate) max_in_flight: usize,
}

#[derive(Clone)]
pub(crate) enum Auth {
    Nobody,
    Token(String),
    User { name: String, password: String },
}

impl NatsConfig {
    /// What a server uses for a stream that names none.
    pub(crate) const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

    pub(crate) fn new(servers: Vec<ServerAddr>, auth: Auth) -> Self {
        Self {
            servers,
            auth,
            name: "outbox".to_owned(),
            stream: None,
            create: false,
            subjects: Vec::new(),
            replicas: 1,
            duplicate_window: Self::DUPLICATE_WINDOW,
            source: "outbox".to_owned(),
            connect_timeout: Duration::from_secs(3),
            publish_timeout: Duration::from_secs(5),
            max_in_flight: 256,
        }
    }

    /// Logs in with a user name and a password.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.auth = Auth::User { name: name.into(), password: password.into() };
        self
    }

    /// Logs in with a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.auth = Auth::Token(token.into());
        self
    }

    /// What the connection is called in the server's monitoring; `outbox` by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The stream that is checked, and from which the window of the duplicate check is learned. It does not restrict
    /// what is published: a message goes to whichever stream takes its subject.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// Creates the stream if it is missing, with [`NatsConfig::subjects`], file storage, `discard=new` and no limits.
    /// A stream that exists is left as it is.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The subjects of a stream that is created, for example `orders.>`; in the URL separated by commas. There is no
    /// default: only you know which of your topics belong together.
    #[must_use]
    pub fn subjects(mut self, subjects: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.subjects = subjects.into_iter().map(Into::into).collect();
        self
    }

    /// Copies of a stream that is created; 1 by default, 3 is what a cluster should have.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// For how long a stream that is created drops second copies; 2 minutes by default. The server keeps every id of
    /// that time in memory.
    #[must_use]
    pub fn duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = window;
        self
    }

    /// The `ce-source` of every message: a URI reference that names your service; `outbox` by default.
    #[must_use]
    pub fn source(mut self, uri: impl Into<String>) -> Self {
        self.source = uri.into();
        self
    }

    /// How long one address may take to connect; 3 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// How long a call of `publish` lasts at most, connecting included; 5 seconds by default. What is not confirmed by
    /// then is unknown.
    #[must_use]
    pub fn publish_timeout(mut self, time: Duration) -> Self {
        self.publish_timeout = time;
        self
    }

    /// How many messages wait for their confirmation at most, over all calls; 256 by default. It bounds how many
    /// duplicates a crash can cause.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages;
        self
    }

    pub(crate) fn checked(self) -> Result<Self, NatsConfigError> {
        let invalid = |parameter, expected| Err(NatsConfigError::InvalidValue { parameter, expected });
        if let Some(stream) = &self.stream {
            // The name becomes part of the subjects of the JetStream API.
            let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>' | '/' | '\\');
            if stream.is_empty() || !stream.chars().all(plain) {
                return invalid("stream", "a stream name: visible ASCII without . * > / \\");
            }
        }
        if self.create && self.stream.is_none() {
            return Err(NatsConfigError::CreateWithoutStream);
        }
        if self.subjects.iter().any(|s| s.is_empty() || !s.chars().all(|c| c.is_ascii_graphic())) {
            return invalid("subjects", "subjects separated by commas, for example orders.>,billing.>");
        }
        if !(1..=5).contains(&self.replicas) {
            return invalid("replicas", "1 to 5");
        }
        if self.source.is_empty() || !self.source.chars().all(|c| c.is_ascii_graphic()) {
            return invalid("source", "a URI reference, for example /shop/orders");
        }
        if self.connect_timeout.is_zero() {
            return invalid("connect_timeout", "a duration above zero, for example 3s");
        }
        if self.publish_timeout.is_zero() {
            return invalid("publish_timeout", "a duration above zero, for example 5s");
        }
        if !(1..=65_536).contains(&self.max_in_flight) {
            return invalid("max_in_flight", "1 to 65536");
        }
        Ok(self)
    }

    pub(crate) fn options(&self) -> ConnectOptions {
        let options = ConnectOptions::new()
            .name(&self.name)
            .connection_timeout(self.connect_timeout)
            .request_timeout(Some(self.publish_timeout))
            // A connection that died without a word is noticed after three of them.
            .ping_interval(Duration::from_secs(10));
        match self.auth.clone() {
            Auth::Nobody => options,
            Auth::Token(token) => options.token(token),
            Auth::User { name, password } => options.user_and_password(name, password),
        }
    }

    /// Hosts and ports, for error texts.
    pub(crate) fn addresses(&self) -> String {
        let address = |server: &ServerAddr| format!("{}:{}", server.host(), server.port());
        self.servers.iter().map(address).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConfig")
            .field("servers", &self.addresses())
            .field("auth", &self.auth)
            .field("name", &self.name)
            .field("stream", &self.stream)
            .field("create", &self.create)
            .field("subjects", &self.subjects)
            .field("replicas", &self.replicas)
            .field("duplicate_window", &self.duplicate_window)
            .field("source", &self.source)
            .field("connect_timeout", &self.connect_timeout)
            .field("publish_timeout", &self.publish_timeout)
            .field("max_in_flight", &self.max_in_flight)
            .finish()
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
