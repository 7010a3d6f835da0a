use std::str::FromStr;
use std::time::Duration;

use outbox_core::{BrokerConfigError, BrokerUrl, Envelope, EnvelopeMode, EnvelopeNames};

use crate::endpoint::{BROKER, Endpoint, SCHEMES, check_stream_name, endpoint_methods, invalid, positive};

/// Where the broker is, who we are, and which stream takes the messages.
///
/// Made from a URL (`"nats://localhost:4222?stream=ORDERS".parse()`) and refined by its methods; every parameter of the
/// URL has a method of the same name. Its `Debug` output has no credentials.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    pub(crate) endpoint: Endpoint,
    pub(crate) envelope: Envelope,
    pub(crate) stream: Option<String>,
    pub(crate) create: bool,
    pub(crate) subjects: Vec<String>,
    pub(crate) replicas: usize,
    pub(crate) duplicate_window: Duration,
    pub(crate) publish_timeout: Duration,
    pub(crate) max_in_flight: usize,
}

impl NatsConfig {
    /// What a server uses for a stream that names none.
    pub(crate) const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

    const PARAMETERS: [&'static str; 7] =
        ["stream", "create", "subjects", "replicas", "duplicate_window", "publish_timeout", "max_in_flight"];

    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            envelope: Envelope::new(EnvelopeNames::HYPHEN),
            stream: None,
            create: false,
            subjects: Vec::new(),
            replicas: 1,
            duplicate_window: Self::DUPLICATE_WINDOW,
            publish_timeout: Duration::from_secs(5),
            max_in_flight: 1024,
        }
    }

    endpoint_methods!();

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
    pub fn source(mut self, uri: impl Into<Box<str>>) -> Self {
        self.envelope = self.envelope.with_source(uri);
        self
    }

    /// What the headers carry beside the user's own; CloudEvents by default.
    #[must_use]
    pub fn envelope(mut self, mode: EnvelopeMode) -> Self {
        self.envelope = self.envelope.with_mode(mode);
        self
    }

    /// How long a call of `publish` lasts at most, connecting included; 5 seconds by default. What is not confirmed by
    /// then is unknown.
    #[must_use]
    pub fn publish_timeout(mut self, time: Duration) -> Self {
        self.publish_timeout = time;
        self
    }

    /// How many messages wait for their confirmation at most, over all calls; 1,024 by default: four calls, so that one is
    /// encoded while the other waits. After a crash of the relay they may be sent twice, and so may what was confirmed and
    /// not yet settled, at most `window_rows` of the relay; within the stream's duplicate window the second copies are
    /// dropped. With fewer it is slower: a call waits for all of its 256, and has ever less under way meanwhile.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages;
        self
    }

    pub(crate) fn checked(mut self) -> Result<Self, BrokerConfigError> {
        self.endpoint.check()?;
        self.envelope.check(BROKER)?;
        self.stream.as_deref().map_or(Ok(()), check_stream_name)?;
        if self.create && self.stream.is_none() {
            let problem =
                "create=true needs stream=NAME (and subjects=…, for a stream that is missing)".into();
            return Err(BrokerConfigError::Incomplete { broker: BROKER, problem });
        }
        if self.subjects.iter().any(|s| s.is_empty() || !s.chars().all(|c| c.is_ascii_graphic())) {
            invalid("subjects", "subjects separated by commas, for example orders.>,billing.>")?;
        }
        if !(1..=5).contains(&self.replicas) {
            invalid("replicas", "1 to 5")?;
        }
        positive("publish_timeout", self.publish_timeout)?;
        if !(1..=65_536).contains(&self.max_in_flight) {
            invalid("max_in_flight", "1 to 65536")?;
        }
        self.endpoint.request_timeout = self.publish_timeout;
        Ok(self)
    }
}

/// `nats://user:password@host:4222,host2:4222?parameter=value&…`, with `tls://` for TLS and `token@` for a token.
///
/// No error repeats any of the text that may hold a password.
impl FromStr for NatsConfig {
    type Err = BrokerConfigError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let url = BrokerUrl::parse(BROKER, url, &SCHEMES)?;
        let mut config = Self::new(Endpoint::new(&url)?);
        for parameter in url.parameters() {
            match parameter.name() {
                "stream" => config.stream = Some(parameter.text().to_owned()),
                "create" => config.create = parameter.flag()?,
                "subjects" => config.subjects = parameter.list().map(str::to_owned).collect(),
                "replicas" => config.replicas = parameter.number(1..=5)?,
                "duplicate_window" => config.duplicate_window = parameter.duration()?,
                "publish_timeout" => config.publish_timeout = parameter.duration()?,
                "max_in_flight" => config.max_in_flight = parameter.number(1..=65_536)?,
                _ if config.envelope.set(&parameter)? || config.endpoint.set(&parameter)? => {}
                _ => {
                    let allowed = [&Self::PARAMETERS[..], &Envelope::PARAMETERS, &Endpoint::PARAMETERS];
                    return Err(url.unknown(&parameter, &allowed.concat()));
                }
            }
        }
        config.checked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Auth;

    fn error(url: &str) -> String {
        url.parse::<NatsConfig>().unwrap_err().to_string()
    }

    #[test]
    fn every_parameter_reaches_the_configuration() {
        let config: NatsConfig = "nats://me:p%40ss@a:4222,b:4333,[::1]/?stream=ORDERS&create=true\
            &subjects=orders.>,billing.%3E&replicas=3&duplicate_window=10min&source=/shop&name=shop\
            &connect_timeout=1s&publish_timeout=1500ms&max_in_flight=64&envelope=raw&tls=required\
            &tls_ca=/ca&tls_cert=/cert&tls_key=/key&tls_first=true"
            .parse()
            .unwrap();
        let endpoint = &config.endpoint;
        assert_eq!(endpoint.addresses(), "a:4222, b:4333, [::1]:4222");
        assert!(
            matches!(&endpoint.auth, Auth::User { name, password } if name == "me" && password.reveal() == "p@ss")
        );
        assert_eq!(config.stream.as_deref(), Some("ORDERS"));
        assert_eq!(config.subjects, ["orders.>", "billing.>"]);
        assert_eq!((config.create, config.replicas, config.max_in_flight), (true, 3, 64));
        assert_eq!(config.duplicate_window, Duration::from_secs(600));
        assert_eq!(config.publish_timeout, Duration::from_millis(1500));
        assert_eq!(endpoint.connect_timeout, Duration::from_secs(1));
        assert_eq!((config.envelope.source(), endpoint.name.as_str()), ("/shop", "shop"));
        assert_eq!(config.envelope.mode(), EnvelopeMode::Raw);
        assert!(endpoint.tls.required && endpoint.tls_first);
        assert_eq!(endpoint.tls.ca.as_deref().and_then(|path| path.to_str()), Some("/ca"));
    }

    #[test]
    fn every_parameter_has_a_method() {
        let url = "nats://h?stream=S&create=true&subjects=s.>&replicas=2&duplicate_window=1min&source=/s&name=n\
            &connect_timeout=1s&publish_timeout=1s&max_in_flight=9&envelope=raw&tls=required&tls_ca=/a\
            &tls_cert=/b&tls_key=/c&tls_first=true";
        let parsed = url.replace("h?", "u:p@h?").parse::<NatsConfig>().unwrap();
        let built = "nats://h".parse::<NatsConfig>().unwrap();
        let second = Duration::from_secs(1);
        let built = built.stream("S").create(true).subjects(["s.>"]).replicas(2).source("/s").name("n");
        let built = built.duplicate_window(60 * second).connect_timeout(second).publish_timeout(second);
        let built = built.max_in_flight(9).envelope(EnvelopeMode::Raw).user("u", "p");
        let built = built.tls(true).tls_ca("/a").tls_cert("/b").tls_key("/c").tls_first(true);
        assert_eq!(format!("{:?}", built.checked().unwrap()), format!("{parsed:?}"));
    }

    #[test]
    fn a_user_without_password_is_a_token() {
        let config: NatsConfig = "nats://t0ken@h".parse().unwrap();
        assert!(matches!(&config.endpoint.auth, Auth::Token(token) if token.reveal() == "t0ken"));
    }

    #[test]
    fn tls_is_a_scheme_or_a_parameter() {
        let required = |url: &str| url.parse::<NatsConfig>().unwrap().endpoint.tls.required;
        assert!(required("tls://h") && required("nats://h?tls=required"));
        assert!(!required("nats://h"));
        let gone = "nats://h?tls=required&tls_ca=/gone.pem".parse::<NatsConfig>().unwrap();
        let error = gone.endpoint.check_files().unwrap_err().to_string();
        assert!(error.contains("tls_ca: /gone.pem"), "{error}");
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_is_allowed() {
        assert_eq!(
            error("nats://h?strem=X"),
            "the NATS URL has an unknown parameter \"strem\"; allowed are stream, create, subjects, replicas, \
             duplicate_window, publish_timeout, max_in_flight, source, envelope, name, connect_timeout, tls, \
             tls_ca, tls_cert, tls_key, tls_first"
        );
        assert_eq!(
            error("nats://h?create=true"),
            "the NATS configuration is incomplete: create=true needs stream=NAME (and subjects=…, for a stream \
             that is missing)"
        );
        for bad in [
            "nats://",
            "nats://h:port",
            "nats://a,,b",
            "nats://h/path",
            "nats://h?stream=a.b",
            "h:4222",
            "nats://h?publish_timeout=5",
            "nats://h?max_in_flight=0",
            "nats://h?tls_first=true",
        ] {
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
