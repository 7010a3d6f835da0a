use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use anyhow::Result;
use outbox_conformance::Proxy;
use tokio::sync::Mutex;

use crate::brokers::{Broker, BrokerKind};
use crate::plan::RELAYS;
use crate::stores::Store;

/// A way to a server, with something on it that can break it. To a file there is none.
pub(crate) struct Link {
    pub(crate) proxy: Option<Arc<Proxy>>,
    /// Whoever breaks it.
    pub(crate) busy: Mutex<()>,
}

impl Link {
    fn through(proxy: Option<Arc<Proxy>>) -> Self {
        Self { proxy, busy: Mutex::new(()) }
    }

    async fn to(port: Option<u16>) -> Self {
        match port {
            Some(port) => Self::through(Some(Arc::new(Proxy::to(port).await))),
            None => Self::through(None),
        }
    }

    /// Where a client is to connect.
    pub(crate) fn port(&self) -> u16 {
        self.proxy.as_ref().map_or(0, |proxy| proxy.port())
    }
}

/// The ways of all clients.
pub(crate) struct Links {
    pub(crate) relay_broker: Vec<Link>,
    pub(crate) relay_database: Vec<Link>,
    pub(crate) producer_database: Link,
    pub(crate) consumer_broker: Link,
    pub(crate) consumer_database: Link,
    /// The broker's own port.
    pub(crate) direct: u16,
    /// All clients go to the broker by the same way, so that what is done to one of them is done to all.
    pub(crate) is_shared: bool,
}

impl Links {
    /// Starts a broker of a kind, or takes one that runs, and makes the ways.
    pub(crate) async fn make(
        kind: BrokerKind,
        running: Option<Arc<dyn Broker>>,
        store: &dyn Store,
    ) -> Result<(Self, Arc<dyn Broker>)> {
        let advertised = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let broker = match running {
            Some(broker) => broker,
            None => kind.start(advertised).await?,
        };
        let direct = broker.server().port();
        let shared = match kind.has_one_address() {
            true => Some(Arc::new(Proxy::at(advertised, direct).await)),
            false => None,
        };
        let to_broker = async || match &shared {
            Some(proxy) => Link::through(Some(Arc::clone(proxy))),
            None => Link::to(Some(direct)).await,
        };
        let (mut relay_broker, mut relay_database) = (Vec::new(), Vec::new());
        for _ in 0..RELAYS {
            relay_broker.push(to_broker().await);
            relay_database.push(Link::to(store.port()).await);
        }
        let links = Self {
            relay_broker,
            relay_database,
            producer_database: Link::to(store.port()).await,
            consumer_broker: to_broker().await,
            consumer_database: Link::to(store.port()).await,
            direct,
            is_shared: shared.is_some(),
        };
        // The client that waits for it must find it by that address, where there is only one.
        while !broker.is_ready().await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok((links, broker))
    }
}
