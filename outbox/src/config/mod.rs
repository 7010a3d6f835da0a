mod diagnosis;
mod document;
mod environment;
mod error;
mod keys;
mod sources;

use std::fmt;
use std::sync::Arc;

use outbox_core::{TopicPattern, Transport};
use outbox_relay::{Relay, RelayConfig};
use outbox_sql::TableNames;

use crate::{ConnectError, Store, connect_store_with_names, connect_transport};

pub use diagnosis::Diagnosis;
pub use error::ConfigError;
pub use sources::ConfigSources;

#[doc = include_str!("../docs/config.md")]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Where the outbox is.
    pub store: StoreConfig,
    /// Where its messages go.
    pub transport: TransportConfig,
    /// Where some of them go instead; the first route that matches decides.
    pub routes: Vec<RouteConfig>,
    /// How the relay works; checked, except for what depends on the transport.
    pub relay: RelayConfig,
    /// Whether the relay listens for the notifications of PostgreSQL. Default true.
    pub listen: bool,
}

/// Where the outbox is. Its `Debug` output has no credentials.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreConfig {
    /// The URL of the database.
    pub url: Option<String>,
    /// The schema of the tables; in MySQL and MariaDB the database.
    pub schema: Option<String>,
    /// The prefix of the tables' names.
    pub table_prefix: String,
}

/// Where messages go. Its `Debug` output has no credentials.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportConfig {
    /// The URL of the broker.
    pub url: Option<String>,
}

/// Topics that go to a broker of their own. Its `Debug` output has no credentials.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteConfig {
    /// What to call it in the log.
    pub name: String,
    /// The topics.
    pub topics: Vec<TopicPattern>,
    /// The URL of the broker.
    pub url: String,
}

impl Config {
    /// What `outbox.toml` in the working directory says, if it exists, and over that the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the file or the variable, and the key.
    pub fn load() -> Result<Self, ConfigError> {
        Self::sources().file_if_exists("outbox.toml").environment().load()
    }

    /// Says itself where the configuration comes from.
    pub fn sources() -> ConfigSources {
        ConfigSources::default()
    }

    /// The names of the tables.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Names`] if schema or prefix is no identifier.
    pub fn table_names(&self) -> Result<TableNames, ConnectError> {
        let schema = self.store.schema.as_deref();
        Ok(TableNames::new(schema, &self.store.table_prefix)?)
    }

    /// The store.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if there is no URL, or it or a name is wrong; never because of the database.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn connect_store(&self) -> Result<Arc<dyn Store>, ConnectError> {
        connect_store_with_names(self.store_url()?, self.table_names()?).await
    }

    /// The transport.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if there is no URL, or it is wrong; never because of the broker.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn connect_transport(&self) -> Result<Arc<dyn Transport>, ConnectError> {
        let url = self.transport.url.as_deref().ok_or(ConnectError::NoUrl {
            role: "transport",
            key: "transport.url",
            variable: "OUTBOX_TRANSPORT_URL",
        })?;
        connect_transport(url).await
    }

    /// A relay from the store to the transport and those of the routes; [`Relay::start`] starts it. On PostgreSQL it listens for notifications,
    /// and says so in the log where it can't.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] as the two above.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn relay(&self) -> Result<Relay, ConnectError> {
        let store = self.connect_store().await?;
        let transport = self.connect_transport().await?;
        let mut relay = Relay::shared(store, transport).config(self.relay.clone());
        for route in &self.routes {
            let transport = connect_transport(&route.url).await?;
            relay = relay.route(&route.name, route.topics.iter().cloned(), transport);
        }
        #[cfg(feature = "sqlx-postgres")]
        if self.listen
            && let Some(wakeup) = crate::wakeup::Listening::for_url(self.store_url()?, self.table_names()?)?
        {
            return Ok(relay.wakeup(wakeup));
        }
        Ok(relay)
    }

    fn store_url(&self) -> Result<&str, ConnectError> {
        self.store.url.as_deref().ok_or(ConnectError::NoUrl {
            role: "store",
            key: "store.url",
            variable: "OUTBOX_STORE_URL",
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        document::Document::default().into_config()
    }
}

/// No more than the scheme: what follows may hold a password, also where nobody expects one.
fn redacted(url: Option<&str>) -> Option<String> {
    let scheme = |url| crate::scheme::scheme_of(url).unwrap_or_default();
    url.map(|url| format!("{}:…", scheme(url)))
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("url", &redacted(self.url.as_deref()))
            .field("schema", &self.schema)
            .field("table_prefix", &self.table_prefix)
            .finish()
    }
}

impl fmt::Debug for TransportConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportConfig").field("url", &redacted(self.url.as_deref())).finish()
    }
}

impl fmt::Debug for RouteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteConfig")
            .field("name", &self.name)
            .field("topics", &self.topics)
            .field("url", &redacted(Some(&self.url)))
            .finish()
    }
}

#[cfg(test)]
mod tests;
