use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{
    OutboxStore, RelayId, StoreErrorKind, TopicFilter, TopicPattern, Transport, TransportCapabilities, Wakeup,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bell::Bell;
use crate::config::{PollConfig, RelayConfig};
use crate::destination::{Destination, Shared};
use crate::error::RelayError;
use crate::handle::RelayHandle;
use crate::health::{DestinationHealth, StoreHealth};
use crate::leases::{LeaseKeeper, LeaseView, Told};
use crate::metrics::{self, SharedFigures};
use crate::monitor::RelayMonitor;
use crate::policy::{OnDead, RetryPolicy};
use crate::stats::Counters;
use crate::waker::Waker;

/// Delivers what is in an outbox, in order, to one or several brokers.
///
/// ```no_run
/// # async fn run(store: impl outbox_core::OutboxStore, transport: impl outbox_core::Transport)
/// # -> Result<(), outbox_relay::RelayError> {
/// use outbox_relay::Relay;
///
/// let relay = Relay::new(store, transport).start().await?;
/// // … the service runs; after a commit: relay.waker().wake() …
/// relay.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a relay runs after `start`"]
pub struct Relay {
    store: Arc<dyn OutboxStore>,
    default: Arc<dyn Transport>,
    routes: Vec<Route>,
    wakeups: Vec<Box<dyn Wakeup>>,
    config: RelayConfig,
    seed: Option<u64>,
}

/// How long the release of the leases, and the end of each transport, is waited for at least, even if what was under way
/// has used up the time of the shutdown.
const LAST_WORDS: Duration = Duration::from_secs(2);

struct Route {
    name: String,
    topics: Vec<TopicPattern>,
    transport: Arc<dyn Transport>,
}

impl Relay {
    /// A relay from any store to any transport.
    pub fn new(store: impl OutboxStore, transport: impl Transport) -> Self {
        Self::shared(Arc::new(store), Arc::new(transport))
    }

    /// The same for a store and a transport that were chosen at run time, or that are used elsewhere too. A transport is
    /// closed with the relay only if nobody else holds it.
    pub fn shared(store: Arc<dyn OutboxStore>, transport: Arc<dyn Transport>) -> Self {
        let config = RelayConfig::default();
        Self { store, default: transport, routes: Vec::new(), wakeups: Vec::new(), config, seed: None }
    }

    /// Sends topics to another transport. The first route that matches decides; what matches none goes to the default
    /// transport. Each destination has its own cursor, window and circuit breaker, so that a broker that is away stops
    /// nobody else. Order by key is kept within a destination.
    pub fn route(
        mut self,
        name: impl Into<String>,
        topics: impl IntoIterator<Item = TopicPattern>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        self.routes.push(Route { name: name.into(), topics: topics.into_iter().collect(), transport });
        self
    }

    /// Listens for hints. Without any, and without [`Waker::wake`], the relay polls.
    pub fn wakeup(mut self, wakeup: impl Wakeup) -> Self {
        self.wakeups.push(Box::new(wakeup));
        self
    }

    /// Replaces the whole configuration.
    pub fn config(mut self, config: RelayConfig) -> Self {
        self.config = config;
        self
    }

    /// Changes the configuration in place.
    pub fn configure(mut self, change: impl FnOnce(&mut RelayConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// When failed messages are tried again.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.config.retry = retry;
        self
    }

    /// Intervals of polling.
    pub fn poll(mut self, poll: PollConfig) -> Self {
        self.config.poll = poll;
        self
    }

    /// What becomes of a key of these topics whose message is given up.
    pub fn on_dead(mut self, topics: TopicPattern, policy: OnDead) -> Self {
        self.config.on_dead.rules.push((topics, policy));
        self
    }

    /// Makes the jitter repeatable, for simulations.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Checks the configuration, looks at the database once, and starts.
    ///
    /// A database that can't be reached is not an error: the relay says so once and keeps trying.
    ///
    /// # Errors
    ///
    /// [`RelayError::Config`] for a wrong configuration, [`RelayError::Store`] for a database that is not migrated, or
    /// is of another version.
    pub async fn start(self) -> Result<RelayHandle, RelayError> {
        let capabilities: Vec<TransportCapabilities> = self
            .routes
            .iter()
            .map(|route| &route.transport)
            .chain([&self.default])
            .map(|t| t.capabilities())
            .collect();
        self.config.validate(&capabilities)?;
        let health = Arc::new(StoreHealth::default());
        if let Err(error) = self.store.check().await {
            match error.kind() {
                StoreErrorKind::Unavailable | StoreErrorKind::Conflict => health.failed(&error),
                _ => return Err(error.into()),
            }
        }
        Ok(self.spawn(health))
    }

    fn spawn(self, health: Arc<StoreHealth>) -> RelayHandle {
        let Self { store, default, routes, wakeups, config, seed } = self;
        let relay = RelayId::new();
        let config = Arc::new(config);
        let counters = Arc::new(Counters::default());
        let (stop, stopping) = watch::channel(false);
        let (finish, finished) = watch::channel(false);
        let (view, leases) = watch::channel(LeaseView::none());
        let (lease_events, events) = mpsc::unbounded_channel();
        let mut random = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);

        let destinations = destinations(routes, default);
        let transports: Vec<_> = destinations.iter().map(|(_, _, transport)| Arc::clone(transport)).collect();
        let healths: Arc<[_]> = destinations
            .iter()
            .map(|(name, _, transport)| {
                Arc::new(DestinationHealth::new(name.clone(), transport.capabilities().name))
            })
            .collect();
        metrics::describe();
        let hints: Vec<_> = destinations.iter().map(|_| Arc::new(Bell::default())).collect();
        let waker = Waker::new(hints.clone(), wakeups.iter().map(|wakeup| wakeup.name()));

        let keeper = LeaseKeeper {
            store: Arc::clone(&store),
            config: Arc::clone(&config),
            relay,
            destinations: destinations.len(),
            view,
            events,
            finished,
            health: Arc::clone(&health),
            counters: Arc::clone(&counters),
            left: Told::default(),
            absolved: Told::default(),
            unreleased: BTreeSet::new(),
        };
        let shared = Shared {
            relay,
            store: Arc::clone(&store),
            config: Arc::clone(&config),
            leases: leases.clone(),
            lease_events,
            stop: stopping.clone(),
            health: Arc::clone(&health),
            counters: Arc::clone(&counters),
            figures: SharedFigures::default(),
            hints: waker.hints(),
        };
        let mut working = JoinSet::new();
        for (number, (_, topics, transport)) in destinations.into_iter().enumerate() {
            let (hint, of_this) = (Arc::clone(&hints[number]), Arc::clone(&healths[number]));
            let destination =
                Destination::new(shared.clone(), number, of_this, transport, topics, hint, random.fork());
            working.spawn(destination.run());
        }
        let mut listening = JoinSet::new();
        for (place, wakeup) in wakeups.into_iter().enumerate() {
            listening.spawn(listen(wakeup, waker.of_wakeup(place)));
        }
        tracing::info!(%relay, label = config.label, "the relay has started");
        let mut stopped = stopping.clone();
        let stopper = stop.clone();
        let running = tokio::spawn(async move {
            // The end of the last sender would abort what is under way, and the handle may be gone before.
            let _stopper = stopper;
            let mut keeping = JoinSet::new();
            keeping.spawn(keeper.run());
            let mut ended = Ok(());
            let mut deadline = None;
            loop {
                let result = tokio::select! {
                    biased;
                    result = working.join_next() => result,
                    _ = stopped.wait_for(|stopped| *stopped), if deadline.is_none() => {
                        deadline = Some(Instant::now() + config.shutdown_timeout);
                        continue;
                    }
                };
                let Some(result) = result else { break };
                let result = result.unwrap_or(Err(RelayError::Panicked));
                if ended.is_ok() {
                    ended = result;
                }
                if matches!(ended, Err(RelayError::Panicked)) {
                    // Its shards would stand still while the others renew their leases: better to give all of them up.
                    working.abort_all();
                }
            }
            drop(listening);
            let _ = finish.send(true);
            let deadline = deadline.unwrap_or_else(|| Instant::now() + config.shutdown_timeout);
            let left = || deadline.saturating_duration_since(Instant::now()).max(LAST_WORDS);
            match tokio::time::timeout(left(), keeping.join_next()).await {
                Ok(Some(Err(_))) => ended = Err(RelayError::Panicked),
                Ok(_) => {}
                Err(_elapsed) => tracing::warn!(
                    "the leases could not be released in time; another relay takes over when they run out"
                ),
            }
            for transport in transports.into_iter().filter(|transport| Arc::strong_count(transport) == 1) {
                let closed = transport.close(left()).await;
                if ended.is_ok() {
                    ended = closed.map_err(RelayError::from);
                }
            }
            tracing::info!(%relay, "the relay has stopped");
            ended
        });
        let monitor = RelayMonitor {
            relay,
            running: running.abort_handle(),
            stop: stopping,
            leases,
            store: health,
            destinations: healths,
            counters,
        };
        RelayHandle::new(monitor, store, waker, stop, running)
    }
}

/// Every destination with the topics it reads: its own patterns, less those of the routes before it.
fn destinations(
    routes: Vec<Route>,
    default: Arc<dyn Transport>,
) -> Vec<(String, TopicFilter, Arc<dyn Transport>)> {
    let mut taken: Vec<TopicPattern> = Vec::new();
    let mut destinations = Vec::with_capacity(routes.len() + 1);
    for Route { name, topics, transport } in routes {
        let filter = TopicFilter { include: topics.clone(), exclude: taken.clone() };
        taken.extend(topics);
        destinations.push((name, filter, transport));
    }
    let name = default.capabilities().name.to_owned();
    destinations.push((name, TopicFilter { include: Vec::new(), exclude: taken }, default));
    destinations
}

async fn listen(mut wakeup: Box<dyn Wakeup>, waker: Waker) {
    loop {
        wakeup.wait().await;
        waker.wake();
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Stores and transports may hold credentials; their names say enough.
        f.debug_struct("Relay")
            .field("store", &self.store.capabilities().name)
            .field("transport", &self.default.capabilities().name)
            .field("routes", &self.routes.iter().map(|route| &route.name).collect::<Vec<_>>())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
