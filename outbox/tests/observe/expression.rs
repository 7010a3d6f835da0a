//! As much of PromQL as it takes to see which metrics and labels an expression uses.

use std::collections::BTreeSet;

use outbox::relay::metrics::names::{self, Kind, Metric};

/// Labels that Prometheus adds by itself.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// The metrics of an expression.
///
/// # Panics
///
/// If a name or a label is not known, or is used against its type.
pub(crate) fn metrics(expression: &str) -> BTreeSet<&'static str> {
    let mut used = BTreeSet::new();
    let mut labels = BTreeSet::from(OF_PROMETHEUS);
    for (start, word) in words(expression) {
        if !word.starts_with("outbox_") {
            continue;
        }
        let (metric, part) = find(word).unwrap_or_else(|| panic!("no metric {word}: {expression}"));
        let grows = matches!(metric.kind, Kind::Counter) || part;
        let differentiated =
            ["rate(", "increase("].iter().any(|function| expression[..start].ends_with(function));
        assert_eq!(
            grows, differentiated,
            "{word}: a counter is read by its rate, and nothing else is: {expression}"
        );
        labels.extend(metric.labels);
        if part {
            labels.insert("le");
        }
        used.insert(metric.name);
    }
    for label in labels_of(expression) {
        assert!(labels.contains(label), "no label {label}: {expression}");
    }
    used
}

/// The metric, and whether it is a part of a histogram.
fn find(word: &str) -> Option<(&'static Metric, bool)> {
    let named = |name: &str| names::all().find(|metric| metric.name == name);
    let is_histogram = |metric: &Metric| matches!(metric.kind, Kind::Histogram { .. });
    if let Some(metric) = named(word) {
        // A histogram has no series of its own name.
        return (!is_histogram(metric)).then_some((metric, false));
    }
    let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| word.strip_suffix(part))?;
    named(whole).filter(|metric| is_histogram(metric)).map(|metric| (metric, true))
}

fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(is_part)?;
        let end = text[start..].find(|c| !is_part(c)).map_or(text.len(), |length| start + length);
        rest = end;
        Some((start, &text[start..end]))
    })
}

/// Labels in selectors and in groupings.
fn labels_of(expression: &str) -> Vec<&str> {
    let mut labels = Vec::new();
    for part in expression.split('{').skip(1) {
        let selector = part.split('}').next().unwrap();
        labels.extend(selector.split(',').filter_map(|matcher| matcher.split(['=', '!']).next()));
    }
    for grouping in ["by (", "on ("] {
        for part in expression.split(grouping).skip(1) {
            labels.extend(part.split(')').next().unwrap().split(','));
        }
    }
    labels.into_iter().map(str::trim).collect()
}

#[test]
fn what_is_used_is_found() {
    let found = metrics(
        "sum by (topic) (rate(outbox_published_total{path=\"direct\",job=~\"$job\"}[5m])) > outbox_pending",
    );
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [names::PENDING, names::PUBLISHED_TOTAL]);
    let quantile =
        "histogram_quantile(0.9, sum by (le, transport) (rate(outbox_publish_seconds_bucket[5m])))";
    assert_eq!(metrics(quantile).into_iter().collect::<Vec<_>>(), [names::PUBLISH_SECONDS]);
}

#[test]
fn what_is_not_there_is_found_out() {
    for wrong in [
        "rate(outbox_publishd_total[5m])",
        "outbox_published_total",
        "rate(outbox_pending[5m])",
        "outbox_pending{topic=\"a\"}",
        "sum by (destination) (rate(outbox_retries_total[5m]))",
        "rate(outbox_publish_seconds[5m])",
        "outbox_pending_bucket",
    ] {
        assert!(std::panic::catch_unwind(|| metrics(wrong)).is_err(), "{wrong}");
    }
}
