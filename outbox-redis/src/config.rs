use std::str::FromStr;
use std::time::Duration;

use outbox_core::{BrokerConfigError, BrokerUrl, Envelope, EnvelopeMode, EnvelopeNames, Limits, Secret};

use crate::endpoint::{BROKER, Endpoint, SCHEMES, invalid, positive};

/// What a topic is in Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisMode {
    /// A stream: kept until it is trimmed, read by any number of groups.
    #[default]
    Stream,
    /// A list: a queue of jobs, each taken once.
    List,
}

impl RedisMode {
    /// The name, as the server calls the type of such a key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::List => "list",
        }
    }
}

impl FromStr for RedisMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "stream" => Ok(Self::Stream),
            "list" => Ok(Self::List),
            _ => Err(()),
        }
    }
}

/// Where the server is, who we are, and what becomes of a topic there.
///
/// Made from a URL (`"redis://localhost:6379/0?mode=list".parse()`) and refined by its methods; every parameter of the
/// URL has a method of the same name. Its `Debug` output has no credentials.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    pub(crate) endpoint: Endpoint,
    pub(crate) envelope: Envelope,
    pub(crate) mode: RedisMode,
    pub(crate) prefix: String,
    pub(crate) maxlen: Option<u64>,
    pub(crate) wait: u32,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) strict: bool,
    pub(crate) publish_timeout: Duration,
    pub(crate) max_in_flight: usize,
}

impl RedisConfig {
    const PARAMETERS: [&'static str; 8] =
        ["mode", "prefix", "maxlen", "wait", "wait_timeout", "strict", "publish_timeout", "max_in_flight"];

    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            envelope: Envelope::new(EnvelopeNames::HYPHEN),
            mode: RedisMode::Stream,
            prefix: String::new(),
            maxlen: None,
            wait: 0,
            wait_timeout: None,
            strict: false,
            publish_timeout: Duration::from_secs(5),
            max_in_flight: 1_000,
        }
    }

    /// Logs in with a user name and a password.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<Box<str>>) -> Self {
        self.endpoint.user = Some(name.into());
        self.endpoint.password = Some(Secret::new(password));
        self
    }

    /// Stream or list.
    #[must_use]
    pub fn mode(mut self, mode: RedisMode) -> Self {
        self.mode = mode;
        self
    }

    /// What stands before the topic in every key; nothing by default.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Trims a stream to about so many entries at each publish. By default nothing is trimmed, because that also drops
    /// what no group has read yet.
    #[must_use]
    pub fn maxlen(mut self, entries: u64) -> Self {
        self.maxlen = Some(entries);
        self
    }

    /// How many replicas must have a message before it counts as confirmed; 0 by default. If fewer do in time, it is
    /// unknown, and published again. Calls that run at the same time wait for each other's replicas.
    #[must_use]
    pub fn wait(mut self, replicas: u32) -> Self {
        self.wait = replicas;
        self
    }

    /// How long the replicas have for that; half of [`RedisConfig::publish_timeout`] by default, and less than that in
    /// any case.
    #[must_use]
    pub fn wait_timeout(mut self, time: Duration) -> Self {
        self.wait_timeout = Some(time);
        self
    }

    /// Refuses to publish to a server that would lose messages when it is killed or full, or that does not say whether it
    /// would; by default it only warns.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// The CloudEvents `source` of every message: a URI reference that names your service; `outbox` by default.
    #[must_use]
    pub fn source(mut self, uri: impl Into<Box<str>>) -> Self {
        self.envelope = self.envelope.with_source(uri);
        self
    }

    /// What travels beside the payload and the user's headers; CloudEvents by default.
    #[must_use]
    pub fn envelope(mut self, mode: EnvelopeMode) -> Self {
        self.envelope = self.envelope.with_mode(mode);
        self
    }

    /// How long one address may take to connect; 3 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.endpoint.connect_timeout = time;
        self
    }

    /// How long a call of `publish` lasts at most, connecting included; 5 seconds by default. What is not confirmed by
    /// then is unknown.
    #[must_use]
    pub fn publish_timeout(mut self, time: Duration) -> Self {
        self.publish_timeout = time;
        self
    }

    /// How many messages wait for their confirmation at most, over all calls; 1,000 by default. After a crash they may
    /// come twice, and so may what was confirmed and not yet settled: at most `window_rows` of the relay.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages;
        self
    }

    /// For how long replicas are waited for, in milliseconds: never 0, which would be for ever.
    pub(crate) fn patience(&self) -> u64 {
        let time = self.wait_timeout.unwrap_or(self.publish_timeout / 2);
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) fn checked(self) -> Result<Self, BrokerConfigError> {
        self.endpoint.check()?;
        self.envelope.check(BROKER)?;
        check_prefix(&self.prefix)?;
        if self.maxlen == Some(0) {
            invalid("maxlen", "1 or more")?;
        }
        positive("publish_timeout", self.publish_timeout)?;
        if self.wait_timeout.is_some_and(|time| time.is_zero() || time >= self.publish_timeout) {
            invalid("wait_timeout", "a duration above zero and below publish_timeout")?;
        }
        if !(1..=65_536).contains(&self.max_in_flight) {
            invalid("max_in_flight", "1 to 65536")?;
        }
        Ok(self)
    }
}

pub(crate) fn check_prefix(prefix: &str) -> Result<(), BrokerConfigError> {
    if prefix.len() > Limits::TOPIC || !prefix.chars().all(|c| c.is_ascii_graphic()) {
        invalid("prefix", "at most 249 bytes of visible ASCII")?;
    }
    Ok(())
}

/// `redis://user:password@host:6379,host2:6379/database?parameter=value&…`, with `rediss://` for TLS.
///
/// No error repeats any of the text that may hold a password.
impl FromStr for RedisConfig {
    type Err = BrokerConfigError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let url = BrokerUrl::parse(BROKER, url, &SCHEMES)?;
        let mut config = Self::new(Endpoint::new(&url)?);
        for parameter in url.parameters() {
            match parameter.name() {
                "mode" => {
                    let mode = parameter.text().parse();
                    config.mode = mode.map_err(|()| parameter.invalid("stream or list"))?;
                }
                "prefix" => config.prefix = parameter.text().to_owned(),
                "maxlen" => config.maxlen = Some(parameter.number(1..=u64::MAX)?),
                "wait" => config.wait = parameter.number(0..=100)?,
                "wait_timeout" => config.wait_timeout = Some(parameter.duration()?),
                "strict" => config.strict = parameter.flag()?,
                "publish_timeout" => config.publish_timeout = parameter.duration()?,
                "max_in_flight" => config.max_in_flight = parameter.number(1..=65_536)?,
                _ if config.envelope.set(&parameter)? || config.endpoint.set(&parameter)? => {}
                _ => {
                    let common = [
                        &Envelope::PARAMETERS[..],
                        &Endpoint::PARAMETERS,
                        &outbox_core::TlsConfig::PARAMETERS,
                    ];
                    let allowed = [&Self::PARAMETERS[..], &common.concat()].concat();
                    return Err(url.unknown(&parameter, &allowed));
                }
            }
        }
        config.checked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_method() {
        let url = "redis://u:p@h/3?mode=list&prefix=shop:&maxlen=9&wait=2&wait_timeout=500ms&strict=true\
                   &publish_timeout=1s&max_in_flight=7&source=/s&envelope=raw&connect_timeout=2s";
        let parsed: RedisConfig = url.parse().unwrap();
        assert_eq!(parsed.endpoint.database, 3);
        let built: RedisConfig = "redis://h/3".parse().unwrap();
        let second = Duration::from_secs(1);
        let built = built.user("u", "p").mode(RedisMode::List).prefix("shop:").maxlen(9).wait(2).strict(true);
        let built = built.publish_timeout(second).max_in_flight(7).source("/s").envelope(EnvelopeMode::Raw);
        let built = built.connect_timeout(2 * second).wait_timeout(second / 2);
        assert_eq!(format!("{built:?}"), format!("{parsed:?}"));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_is() {
        for (url, expected) in [
            ("redis://h?mode=set", "mode of the Redis configuration must be stream or list"),
            ("redis://h?maxlen=0", "maxlen of the Redis configuration must be 1 to 18446744073709551615"),
            (
                "redis://h?publish_timeout=0s",
                "publish_timeout of the Redis configuration must be a duration above zero",
            ),
            (
                "redis://h?wait_timeout=5s",
                "wait_timeout of the Redis configuration must be a duration above zero and",
            ),
            ("redis://u:c4nary@h/x", "the Redis URL is malformed: its path is not the number of a database"),
            (
                "redis://u:c4nary@h?strcit=true",
                "the Redis URL has an unknown parameter \"strcit\"; allowed are mode, ",
            ),
            (
                "redis://u:c4nary@h?tls_ca=/x",
                "the Redis configuration is incomplete: tls_ca, tls_cert and tls_key",
            ),
        ] {
            let error = url.parse::<RedisConfig>().unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(!format!("{error} {error:?}").contains("c4nary"));
        }
        let config: RedisConfig = "rediss://u:c4nary@h".parse().unwrap();
        assert!(config.endpoint.tls.required && !format!("{config:?}").contains("c4nary"));
    }
}
