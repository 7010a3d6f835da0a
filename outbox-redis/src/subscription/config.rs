use std::str::FromStr;
use std::time::Duration;

use outbox_core::{BrokerConfigError, BrokerUrl, SubscribeOptions, TlsConfig};

use crate::RedisMode;
use crate::config::check_prefix;
use crate::endpoint::{BROKER, Endpoint, SCHEMES};

/// Where the server is, and what is read from it.
///
/// Made from a URL (`"redis://localhost:6379?group=billing&topics=orders.placed".parse()`); its parameters are those of
/// [`SubscribeOptions`], `mode`, `prefix`, `connect_timeout` and those of TLS. Its `Debug` output has no credentials.
#[derive(Debug, Clone)]
pub struct RedisSubscriptionConfig {
    pub(crate) endpoint: Endpoint,
    pub(crate) options: SubscribeOptions,
    pub(crate) mode: RedisMode,
    pub(crate) prefix: String,
}

impl RedisSubscriptionConfig {
    const PARAMETERS: [&'static str; 2] = ["mode", "prefix"];

    /// Replaces what is read, and by whom.
    #[must_use]
    pub fn options(mut self, options: SubscribeOptions) -> Self {
        self.options = options;
        self
    }

    /// Stream or list.
    #[must_use]
    pub fn mode(mut self, mode: RedisMode) -> Self {
        self.mode = mode;
        self
    }

    /// What stands before the topic in every key, as in [`RedisConfig::prefix`](crate::RedisConfig::prefix).
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long one address may take to connect; 3 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.endpoint.connect_timeout = time;
        self
    }

    pub(crate) fn checked(mut self) -> Result<Self, BrokerConfigError> {
        self.endpoint.check()?;
        check_prefix(&self.prefix)?;
        self.options = self.options.checked(BROKER)?;
        Ok(self)
    }

    pub(crate) fn key(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }
}

impl FromStr for RedisSubscriptionConfig {
    type Err = BrokerConfigError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let url = BrokerUrl::parse(BROKER, url, &SCHEMES)?;
        let mut config = Self {
            endpoint: Endpoint::new(&url)?,
            options: SubscribeOptions::new("", []),
            mode: RedisMode::Stream,
            prefix: String::new(),
        };
        for parameter in url.parameters() {
            match parameter.name() {
                "mode" => {
                    let mode = parameter.text().parse();
                    config.mode = mode.map_err(|()| parameter.invalid("stream or list"))?;
                }
                "prefix" => config.prefix = parameter.text().to_owned(),
                _ if config.options.set(&parameter)? || config.endpoint.set(&parameter)? => {}
                _ => {
                    let common =
                        [&SubscribeOptions::PARAMETERS[..], &Endpoint::PARAMETERS, &TlsConfig::PARAMETERS];
                    return Err(url.unknown(&parameter, &[&Self::PARAMETERS[..], &common.concat()].concat()));
                }
            }
        }
        config.checked()
    }
}
