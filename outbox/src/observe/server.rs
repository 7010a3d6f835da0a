use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use outbox_relay::metrics::RunningSampler;
use outbox_relay::{RelayMonitor, RelayStatus};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::readiness::{Readiness, liveness};
use super::schema::DatabaseState;

/// What answers are made of.
pub(crate) struct Sources {
    pub(super) exporter: Option<PrometheusHandle>,
    pub(super) relays: Mutex<Vec<RelayMonitor>>,
    pub(super) database: Option<watch::Receiver<DatabaseState>>,
    pub(super) brokers_required: bool,
}

impl Sources {
    fn relays(&self) -> Vec<RelayStatus> {
        let relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        relays.iter().map(RelayMonitor::status).collect()
    }

    /// Looks after a relay that was started later.
    pub(crate) fn add(&self, relay: RelayMonitor) {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner).push(relay);
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let database = self.database.as_ref().map(|state| state.borrow().clone());
        Readiness::of(database, &self.relays(), self.brokers_required)
    }
}

/// Metrics and health that are being served. Dropping it ends that at once.
#[must_use = "dropping it ends the serving"]
pub struct Observing {
    address: SocketAddr,
    sources: Arc<Sources>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    // What is read at intervals ends with the serving.
    _tasks: JoinSet<()>,
    _sampler: Option<RunningSampler>,
}

/// How long requests that are under way may take to end at a shutdown. Answers come from memory; only a client that
/// reads none of them takes longer.
const SHUTDOWN: Duration = Duration::from_secs(5);

impl Observing {
    pub(super) fn start(
        listener: TcpListener,
        address: SocketAddr,
        sources: Sources,
        tasks: JoinSet<()>,
        sampler: Option<RunningSampler>,
    ) -> Self {
        let sources = Arc::new(sources);
        let (stop, mut stopping) = watch::channel(false);
        let mut router = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
        if sources.exporter.is_some() {
            router = router.route("/metrics", get(metrics));
        }
        let router = router.with_state(Arc::clone(&sources));
        let server = tokio::spawn(async move {
            let stopped = async move {
                // The sender's end is a stop too.
                let _ = stopping.wait_for(|stop| *stop).await;
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "metrics and health are not served any more");
            }
        });
        tracing::info!(%address, "serving metrics and health");
        Self { address, sources, stop, server, _tasks: tasks, _sampler: sampler }
    }

    /// Where it listens; with port 0 in the request, the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `/readyz` answers now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.sources.readiness()
    }

    /// Looks after a relay that was started later, too.
    pub fn add(&self, relay: RelayMonitor) {
        self.sources.add(relay);
    }

    #[cfg(feature = "config")]
    pub(crate) fn sources(&self) -> Arc<Sources> {
        Arc::clone(&self.sources)
    }

    /// Takes no more requests, and waits up to 5 s for those that are under way.
    ///
    /// # Cancel safety
    ///
    /// Yes: what is under way is then cut off.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(SHUTDOWN, &mut self.server).await.is_err() {
            tracing::warn!(address = %self.address, "a request for metrics or health was cut off");
        }
    }
}

impl Drop for Observing {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for Observing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observing").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn healthz(State(sources): State<Arc<Sources>>) -> Response {
    answer(&Readiness::from_checks(liveness(&sources.relays())))
}

async fn readyz(State(sources): State<Arc<Sources>>) -> Response {
    answer(&sources.readiness())
}

async fn metrics(State(sources): State<Arc<Sources>>) -> Response {
    let text = sources.exporter.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn answer(readiness: &Readiness) -> Response {
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // A proxy that kept it would tell yesterday's health.
    (status, [(header::CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}
