use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use outbox_relay::metrics::describe;
use outbox_relay::metrics::names::{self, Kind};

use super::error::ObserveError;

/// How often observations of histograms are summed up. In between each takes memory, also while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// A recorder for Prometheus with the buckets of every histogram; for a process that installs its own.
#[must_use]
pub fn prometheus_builder() -> PrometheusBuilder {
    names::all().fold(PrometheusBuilder::new(), |builder, metric| {
        let Kind::Histogram { buckets } = metric.kind else {
            return builder;
        };
        builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
            .unwrap_or_else(|_| unreachable!("no histogram is without buckets"))
    })
}

/// The recorder of this process, which can be set only once.
static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Installs the recorder, if that was not done here before.
pub(super) fn install() -> Result<PrometheusHandle, ObserveError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let handle = prometheus_builder().install_recorder().map_err(|_| ObserveError::RecorderTaken)?;
    describe();
    *installed = Some(handle.clone());
    Ok(handle)
}

/// Sums up what was observed, for as long as metrics are served.
pub(super) async fn keep_up(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}
