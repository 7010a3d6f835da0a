use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use outbox_relay::metrics::{StatsSampler, describe};
use outbox_relay::{RelayHandle, RelayMonitor};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::error::ObserveError;
use super::exporter;
use super::schema::{self, DatabaseState};
use super::server::{Observing, Sources};
use crate::Store;

/// Serves metrics and health of this process.
#[must_use = "it serves after `serve`"]
pub struct Observer {
    relays: Vec<RelayMonitor>,
    store: Option<Arc<dyn Store>>,
    interval: Duration,
    timeout: Duration,
    count_limit: u64,
    brokers_required: bool,
    metrics: Metrics,
}

enum Metrics {
    /// A recorder of our own, installed for the process.
    Own,
    Given(PrometheusHandle),
    Elsewhere,
}

impl Observer {
    /// Serves the metrics of this process; [`Observer::relay`] and [`Observer::store`] say what else is looked at.
    pub fn new() -> Self {
        Self {
            relays: Vec::new(),
            store: None,
            interval: StatsSampler::INTERVAL,
            timeout: Duration::from_secs(5),
            count_limit: StatsSampler::COUNT_LIMIT,
            brokers_required: false,
            metrics: Metrics::Own,
        }
    }

    /// Looks after a relay: whether it lives, its leases, its brokers.
    pub fn relay(self, relay: &RelayHandle) -> Self {
        self.monitor(relay.monitor())
    }

    /// [`Observer::relay`] by its monitor.
    pub fn monitor(mut self, relay: RelayMonitor) -> Self {
        self.relays.push(relay);
        self
    }

    /// Looks at the database: whether it answers, whether the tables are those of this version, and how much waits in
    /// them (the gauges of [`StatsSampler`]). Best with connections of its own, so that neither the relay nor a request
    /// waits for it.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// How often the database is looked at. Default 15 s; at least 100 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(100));
        self
    }

    /// After what time the database counts as not answering. Default 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Where counting rows stops. Default 10,000.
    pub fn count_limit(mut self, rows: u64) -> Self {
        self.count_limit = rows;
        self
    }

    /// Whether `/readyz` is 503 while a broker is not available. Default false: its messages wait in the outbox, and a
    /// service that is taken out of service then can't even write them.
    pub fn brokers_required(mut self, required: bool) -> Self {
        self.brokers_required = required;
        self
    }

    /// Serves what this recorder has, for a process that has installed one itself; see
    /// [`prometheus_builder`](super::prometheus_builder).
    pub fn exporter(mut self, exporter: PrometheusHandle) -> Self {
        self.metrics = Metrics::Given(exporter);
        self
    }

    /// Serves health alone, for a process whose metrics go elsewhere.
    pub fn without_metrics(mut self) -> Self {
        self.metrics = Metrics::Elsewhere;
        self
    }

    /// Installs a recorder for Prometheus, unless told otherwise, and serves at this address. Port 0 is any free port.
    ///
    /// # Errors
    ///
    /// [`ObserveError`] if the address can't be listened at, or the process has another recorder.
    ///
    /// # Cancel safety
    ///
    /// Yes; the recorder may then be installed.
    pub async fn serve(self, address: impl Into<SocketAddr>) -> Result<Observing, ObserveError> {
        let address = address.into();
        let bind = |source| ObserveError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let exporter = match self.metrics {
            Metrics::Own => Some(exporter::install()?),
            Metrics::Given(handle) => {
                describe();
                Some(handle)
            }
            Metrics::Elsewhere => None,
        };
        let mut tasks = JoinSet::new();
        if let Some(exporter) = &exporter {
            tasks.spawn(exporter::keep_up(exporter.clone()));
        }
        let sampler = self.store.clone().map(|store| {
            let sampler = StatsSampler::new(store).interval(self.interval).timeout(self.timeout);
            sampler.count_limit(self.count_limit).start()
        });
        let database = self.store.map(|store| {
            let (sender, state) = watch::channel(DatabaseState::unknown());
            tasks.spawn(schema::look(store, self.interval, self.timeout, sender));
            state
        });
        let relays = Mutex::new(self.relays);
        let sources = Sources { exporter, relays, database, brokers_required: self.brokers_required };
        Ok(Observing::start(listener, address, sources, tasks, sampler))
    }
}

impl Default for Observer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("relays", &self.relays.len())
            .field("store", &self.store.is_some())
            .field("interval", &self.interval)
            .field("count_limit", &self.count_limit)
            .field("brokers_required", &self.brokers_required)
            .finish_non_exhaustive()
    }
}
