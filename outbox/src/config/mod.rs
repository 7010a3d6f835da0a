mod mode;
mod profile;
mod sections;

mod error;
mod origin;
mod setting;
mod warning;

mod entry;
mod environment;
mod field;
mod file;
mod keys;
mod lists;
mod loader;
mod names;
mod redact;
mod reference;
mod rules;
mod sources;

mod connect;
mod diagnosis;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use outbox_relay::RelayConfig;

pub(crate) use connect::Brought;
pub use diagnosis::Diagnosis;
pub use error::ConfigError;
pub use mode::DeliveryMode;
pub use origin::ConfigOrigin;
pub use profile::ConfigProfile;
pub use sections::{InboxConfig, MetricsConfig, RouteConfig, StoreConfig, TransportConfig, WakeupConfig};
pub use setting::{Setting, SettingValue};
pub use sources::ConfigSources;
pub use warning::ConfigWarning;

use setting::Loaded;

#[doc = include_str!("../docs/config.md")]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The profile that was chosen. Default none.
    pub profile: Option<ConfigProfile>,
    /// Whether there is an outbox at all; without it the mode is [`DeliveryMode::Direct`]. Default true.
    pub enabled: bool,
    /// Whether this instance relays; without it, it only writes. Default true. [`Config::start`] obeys this and all others.
    pub processor_enabled: bool,
    /// Whether the relay of this instance starts with the application. Default true.
    pub auto_start: bool,
    /// Which way a message takes to the broker. Default [`DeliveryMode::Transactional`].
    pub mode: DeliveryMode,
    /// Where the outbox is.
    pub store: StoreConfig,
    /// Where its messages go.
    pub transport: TransportConfig,
    /// Where some of them go instead; the first route that matches decides.
    pub routes: Vec<RouteConfig>,
    /// How the relay works; checked, except for what depends on the transport.
    pub relay: RelayConfig,
    /// What wakes the relay.
    pub wakeups: WakeupConfig,
    /// Whether and where metrics are served.
    pub metrics: MetricsConfig,
    /// How long the inbox remembers.
    pub inbox: InboxConfig,
    /// What was found to be odd; it was logged, too.
    pub warnings: Vec<ConfigWarning>,
    /// What was not left at its default when this was loaded, by key.
    loaded: BTreeMap<String, Loaded>,
}

impl Config {
    /// What `outbox.toml` in the working directory says, if it exists, and over that the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the file or the variable, the key, its value, and what is allowed.
    pub fn load() -> Result<Self, ConfigError> {
        Self::sources().file_if_exists("outbox.toml").environment().load()
    }

    /// Says itself where the configuration comes from.
    pub fn sources() -> ConfigSources {
        ConfigSources::default()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: None,
            enabled: true,
            processor_enabled: true,
            auto_start: true,
            mode: DeliveryMode::default(),
            store: StoreConfig::default(),
            transport: TransportConfig::default(),
            routes: Vec::new(),
            relay: RelayConfig::default(),
            wakeups: WakeupConfig::default(),
            metrics: MetricsConfig::default(),
            inbox: InboxConfig::default(),
            warnings: Vec::new(),
            loaded: BTreeMap::new(),
        }
    }
}
