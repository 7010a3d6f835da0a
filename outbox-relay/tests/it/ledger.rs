use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, LocalRecorderGuard, Metadata,
    Recorder, SharedString, Unit,
};
use outbox_relay::metrics::names::{self, Kind, Metric};

/// A recorder that keeps everything it was ever told, and counts how often it was asked for a series.
#[derive(Default)]
pub(crate) struct Ledger {
    lookups: AtomicUsize,
    series: Mutex<BTreeMap<String, Arc<Series>>>,
    described: Mutex<BTreeMap<String, (Option<Unit>, String)>>,
}

/// One series: each increment, value or observation.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) labels: Vec<(String, String)>,
    values: Mutex<Vec<f64>>,
}

impl Series {
    fn push(&self, value: f64) {
        self.values.lock().unwrap().push(value);
    }

    pub(crate) fn values(&self) -> Vec<f64> {
        self.values.lock().unwrap().clone()
    }

    /// A counter that has counted, a gauge that has had two values, a histogram that has observed something.
    pub(crate) fn has_moved(&self) -> bool {
        let values = self.values();
        match self.kind {
            "counter" => values.iter().any(|value| *value > 0.0),
            "gauge" => values.windows(2).any(|pair| pair[0] != pair[1]),
            _ => !values.is_empty(),
        }
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// From now on all metrics of this thread, and so of a test's runtime, come here.
    pub(crate) fn listen(&self) -> LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(self)
    }

    pub(crate) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }

    pub(crate) fn series(&self) -> Vec<Arc<Series>> {
        self.series.lock().unwrap().values().cloned().collect()
    }

    pub(crate) fn described(&self) -> BTreeMap<String, (Option<Unit>, String)> {
        self.described.lock().unwrap().clone()
    }

    /// All values of a series, written as `name` or `name{key=value,…}`.
    pub(crate) fn values(&self, series: &str) -> Vec<f64> {
        self.series.lock().unwrap().get(series).map(|series| series.values()).unwrap_or_default()
    }

    /// The sum of a counter.
    pub(crate) fn total(&self, series: &str) -> f64 {
        self.values(series).iter().sum()
    }

    /// The value of a gauge.
    pub(crate) fn last(&self, series: &str) -> Option<f64> {
        self.values(series).last().copied()
    }

    /// Of all series that were seen: kinds and labels are those of the list. And each of these metrics has moved.
    pub(crate) fn assert_moved<'a>(&self, expected: impl IntoIterator<Item = &'a Metric>) {
        let series = self.series();
        for series in &series {
            let metric = names::all().find(|metric| metric.name == series.name);
            let metric = metric.unwrap_or_else(|| panic!("{} is not in the list", series.name));
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                _ => "histogram",
            };
            assert_eq!(series.kind, kind, "{}", series.name);
            let labels: BTreeSet<&str> = series.labels.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(labels, metric.labels.iter().copied().collect(), "{}", series.name);
        }
        let moved: BTreeSet<&str> =
            series.iter().filter(|series| series.has_moved()).map(|series| series.name.as_str()).collect();
        let names = expected.into_iter().map(|metric| metric.name);
        let missing: Vec<&str> = names.filter(|name| !moved.contains(name)).collect();
        assert!(missing.is_empty(), "these have not moved: {missing:?}");
    }

    fn find(&self, kind: &'static str, key: &Key) -> Arc<Series> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let mut labels: Vec<_> =
            key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        labels.sort();
        let written: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let name = key.name().to_owned();
        let whole = if labels.is_empty() { name.clone() } else { format!("{name}{{{}}}", written.join(",")) };
        let new = || Arc::new(Series { name, kind, labels, values: Mutex::default() });
        Arc::clone(self.series.lock().unwrap().entry(whole).or_insert_with(new))
    }

    fn describe(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.described.lock().unwrap().insert(key.as_str().to_owned(), (unit, help.into_owned()));
    }
}

/// Keeps what the handle tells; a foreign trait can't be implemented for an [`Arc`].
struct Handle(Arc<Series>);

impl Recorder for Ledger {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(key, unit, help);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(key, unit, help);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(key, unit, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Handle(self.find("counter", key))))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Handle(self.find("gauge", key))))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Handle(self.find("histogram", key))))
    }
}

impl CounterFn for Handle {
    #[allow(clippy::cast_precision_loss, reason = "counts of a test")]
    fn increment(&self, value: u64) {
        self.0.push(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("nothing here counts by absolute values");
    }
}

impl GaugeFn for Handle {
    fn increment(&self, _: f64) {
        panic!("gauges are set here");
    }

    fn decrement(&self, _: f64) {
        panic!("gauges are set here");
    }

    fn set(&self, value: f64) {
        self.0.push(value);
    }
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.0.push(value);
    }
}
