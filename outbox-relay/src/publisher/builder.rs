use std::fmt;
use std::sync::Arc;

use outbox_core::{OutboxStore, TopicFilter, TopicPattern, Transport};

use super::backlog::Backlog;
use super::circuit::Circuit;
use super::desk::Desk;
use super::destination::{Destination, Fallback};
use super::figures::Figures;
use super::{Inner, MessageSink, Publisher, PublisherConfig, PublisherConfigError};
use crate::metrics::{self, TopicLabels};

/// Makes a [`Publisher`].
#[must_use = "a publisher is made by `build`"]
pub struct PublisherBuilder {
    sink: Option<Box<dyn MessageSink>>,
    outbox: Option<Arc<dyn OutboxStore>>,
    /// `None` if everything is stored.
    transport: Option<Arc<dyn Transport>>,
    routes: Vec<(String, Vec<TopicPattern>, Arc<dyn Transport>)>,
    config: PublisherConfig,
}

impl PublisherBuilder {
    pub(super) fn new(
        sink: Option<Box<dyn MessageSink>>,
        outbox: Option<Arc<dyn OutboxStore>>,
        transport: Option<Arc<dyn Transport>>,
    ) -> Self {
        Self { sink, outbox, transport, routes: Vec::new(), config: PublisherConfig::default() }
    }

    /// Sends topics to another transport, as [`Relay::route`](crate::Relay::route) does: the first route that matches
    /// decides. Without effect where everything is stored, since the relay has routes of its own.
    pub fn route(
        mut self,
        name: impl Into<String>,
        topics: impl IntoIterator<Item = TopicPattern>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        self.routes.push((name.into(), topics.into_iter().collect(), transport));
        self
    }

    /// Changes the configuration in place.
    pub fn configure(mut self, change: impl FnOnce(&mut PublisherConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Checks the configuration. Nothing is connected or asked yet.
    ///
    /// # Errors
    ///
    /// [`PublisherConfigError`] for a time of 0, and for a `publish_timeout` that a client may exceed.
    pub fn build(self) -> Result<Publisher, PublisherConfigError> {
        let Self { sink, outbox, transport, routes, config } = self;
        let mut destinations = Vec::with_capacity(routes.len() + 1);
        if let Some(transport) = transport {
            metrics::describe();
            let labels = TopicLabels::default();
            let mut taken: Vec<TopicPattern> = Vec::new();
            let mut add = |name: String, include: Vec<TopicPattern>, transport: Arc<dyn Transport>| {
                let figures = Figures::new(&name, transport.capabilities().name, labels.clone());
                let topics = TopicFilter { include: include.clone(), exclude: taken.clone() };
                taken.extend(include);
                let fallback = outbox.as_ref().map(|outbox| {
                    let backlog = Backlog::new(Arc::clone(outbox), topics.clone(), &config);
                    Fallback::new(Circuit::new(figures.calls().clone(), &config), backlog)
                });
                destinations.push(Destination::new(name, topics, transport, fallback, figures, &config));
            };
            for (name, topics, transport) in routes {
                add(name, topics, transport);
            }
            let name = transport.capabilities().name.to_owned();
            add(name, Vec::new(), transport);
        }
        config.validate(destinations.iter().map(|destination| &destination.capabilities))?;
        destinations.iter().for_each(Destination::repeat);
        Ok(Publisher { inner: Arc::new(Inner::new(destinations, outbox, Desk::new(sink))) })
    }
}

impl fmt::Debug for PublisherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
