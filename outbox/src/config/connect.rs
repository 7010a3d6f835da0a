use std::sync::Arc;

use outbox_core::Transport;
use outbox_relay::{MessageSink, Publisher, Relay};
use outbox_sql::TableNames;

use super::{Config, DeliveryMode};
use crate::{ConnectError, Store, connect_store_with_names, connect_transport};

/// What the program has made itself, and what is therefore not connected by its URL.
#[derive(Clone, Default)]
pub(crate) struct Brought {
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) transport: Option<Arc<dyn Transport>>,
}

impl Config {
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

    /// A relay from the store to the transport and those of the routes; [`Relay::start`] starts it. It listens for the
    /// hints that `wakeups` says: those of Redis, and on PostgreSQL its notifications, or it says in the log why it can't.
    ///
    /// Whether this instance is to relay at all ([`Config::processor_enabled`]) is for the caller to ask;
    /// [`Config::start`] does.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] as the two above, and for a wrong URL of Redis.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn relay(&self) -> Result<Relay, ConnectError> {
        self.relay_with(&Brought::default()).await
    }

    /// Publishes messages that belong to no transaction, the way that `mode` says. `sink` writes to the outbox of this
    /// configuration, and is not used where there is none. Nothing else of the code depends on the mode.
    ///
    /// [`Publisher::wakes`] tells it whom to wake when something was stored.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if a URL that the mode needs is missing or wrong, or a time-out is shorter than that of a
    /// transport's client; never because of the database or the broker.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    #[doc = include_str!("../docs/sinks.md")]
    pub async fn publisher(&self, sink: impl MessageSink) -> Result<Publisher, ConnectError> {
        self.publisher_with(&Brought::default(), sink).await
    }

    /// [`Config::relay`] beside a publisher of the same process: it uses the publisher's connections to the brokers,
    /// where there are any. Call `publisher.wakes(…)` with the waker of what this starts.
    ///
    /// # Errors
    ///
    /// As [`Config::relay`].
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn relay_beside(&self, publisher: &Publisher) -> Result<Relay, ConnectError> {
        self.relay_beside_with(&Brought::default(), publisher).await
    }

    /// The way that a message takes. Who has switched the outbox off in code has not touched the mode.
    pub(crate) fn mode_in_effect(&self) -> DeliveryMode {
        if self.enabled { self.mode } else { DeliveryMode::Direct }
    }

    pub(crate) async fn relay_with(&self, brought: &Brought) -> Result<Relay, ConnectError> {
        let (store, transport) = (self.store_of(brought).await?, self.transport_of(brought).await?);
        let mut relay = Relay::shared(store, transport);
        for route in &self.routes {
            let transport = connect_transport(&route.url).await?;
            relay = relay.route(&route.name, route.topics.iter().cloned(), transport);
        }
        self.equipped(relay)
    }

    pub(crate) async fn relay_beside_with(
        &self,
        brought: &Brought,
        publisher: &Publisher,
    ) -> Result<Relay, ConnectError> {
        match publisher.relay() {
            Some(relay) => self.equipped(relay),
            None => self.relay_with(brought).await,
        }
    }

    pub(crate) async fn publisher_with(
        &self,
        brought: &Brought,
        sink: impl MessageSink,
    ) -> Result<Publisher, ConnectError> {
        let mode = self.mode_in_effect();
        let mut publisher = match mode {
            DeliveryMode::Transactional => Publisher::transactional(sink),
            DeliveryMode::DirectFirst => {
                let outbox = self.store_of(brought).await?;
                Publisher::direct_first(self.transport_of(brought).await?, sink, outbox)
            }
            DeliveryMode::Direct => Publisher::direct(self.transport_of(brought).await?),
        };
        if mode != DeliveryMode::Transactional {
            for route in &self.routes {
                let transport = connect_transport(&route.url).await?;
                publisher = publisher.route(&route.name, route.topics.iter().cloned(), transport);
            }
        }
        let publisher = publisher.configure(|config| {
            config.publish_timeout = self.relay.publish_timeout;
            config.breaker_first = self.relay.breaker_first;
            config.breaker_longest = self.relay.breaker_longest;
        });
        publisher.build().map_err(|error| ConnectError::Transport(error.into()))
    }

    pub(crate) async fn store_of(&self, brought: &Brought) -> Result<Arc<dyn Store>, ConnectError> {
        match &brought.store {
            Some(store) => Ok(Arc::clone(store)),
            None => self.connect_store().await,
        }
    }

    async fn transport_of(&self, brought: &Brought) -> Result<Arc<dyn Transport>, ConnectError> {
        match &brought.transport {
            Some(transport) => Ok(Arc::clone(transport)),
            None => self.connect_transport().await,
        }
    }

    /// With the settings of this configuration, and listening for hints.
    fn equipped(&self, relay: Relay) -> Result<Relay, ConnectError> {
        let mut relay = relay.config(self.relay.clone());
        if let (Some(url), Some(service)) = (&self.wakeups.redis_url, &self.wakeups.service) {
            relay = woken_by_redis(relay, url, service)?;
        }
        #[cfg(feature = "sqlx-postgres")]
        if self.wakeups.listen
            && let Some(url) = &self.store.url
            && let Some(wakeup) = crate::wakeup::Listening::for_url(url, self.table_names()?)?
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

#[cfg(feature = "redis")]
fn woken_by_redis(relay: Relay, url: &str, service: &str) -> Result<Relay, ConnectError> {
    let refused = |error: outbox_core::BrokerConfigError| ConnectError::Transport(error.into());
    let redis = url.parse().map_err(refused)?;
    Ok(relay.wakeup(outbox_redis::RedisWakeup::new(&redis, service).map_err(refused)?))
}

#[cfg(not(feature = "redis"))]
fn woken_by_redis(_: Relay, _: &str, _: &str) -> Result<Relay, ConnectError> {
    Err(ConnectError::FeatureOff { scheme: "redis", feature: "redis" })
}
