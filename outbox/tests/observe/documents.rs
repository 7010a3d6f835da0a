//! The dashboard, the alert rules and the table of metrics say what the code says. `OUTBOX_UPDATE_README=1` writes the
//! table.

use std::collections::BTreeSet;
use std::path::PathBuf;

use outbox::relay::metrics::names::{self, Kind, Metric};

use crate::expression::metrics;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/observability").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a relay, a sampler and a consumer report.
fn reported() -> BTreeSet<&'static str> {
    names::all().map(|metric| metric.name).collect()
}

fn expressions(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(expression) if name == "expr" => found.push(expression.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let shown: BTreeSet<_> = found.iter().flat_map(|expression| metrics(expression)).collect();
    assert_eq!(shown, reported());
    // The list of jobs comes from a metric, too.
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let jobs = variables.iter().find(|variable| variable["name"] == "job").unwrap();
    let query = jobs["query"]["query"].as_str().unwrap();
    assert_eq!(metrics(query).into_iter().collect::<Vec<_>>(), [names::SHARDS_OWNED]);
}

#[test]
fn panels_have_numbers_and_places_of_their_own() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let numbers: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{}", panel["title"]);
        for y in side("y")..side("y") + side("h") {
            for x in side("x")..side("x") + side("w") {
                assert!(taken.insert((x, y)), "{} covers another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn alerts_use_metrics_that_there_are() {
    let rules = read("alerts.yml");
    let alerts = rules.matches("- alert:").count();
    let found: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr:")).map(str::trim).collect();
    assert!(alerts > 0 && found.len() == alerts, "each alert has its expression on one line");
    for expression in &found {
        let used = metrics(expression);
        assert!(!used.is_empty() && used.is_subset(&reported()), "{expression}");
    }
    for part in ["severity:", "summary:", "description:"] {
        assert_eq!(rules.matches(part).count(), alerts, "each alert has a {part}");
    }
}

#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    const BEGIN: &str =
        "<!-- the metrics: written by the test `the_table_of_metrics_is_that_of_the_code` -->\n";
    const END: &str = "\n<!-- end of the metrics -->";
    let text = read("README.md");
    let start = text.find(BEGIN).expect("the beginning of the table") + BEGIN.len();
    let end = start + text[start..].find(END).expect("the end of the table");
    let table = table();
    if std::env::var_os("OUTBOX_UPDATE_README").is_some() {
        std::fs::write(path("README.md"), format!("{}{table}{}", &text[..start], &text[end..])).unwrap();
    } else {
        assert_eq!(&text[start..end], table, "run again with OUTBOX_UPDATE_README=1");
    }
}

fn table() -> String {
    let line = |metric: &Metric| {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            _ => "histogram",
        };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help)
    };
    let section = |title: &str, metrics: &[Metric]| {
        let lines: Vec<String> = metrics.iter().map(line).collect();
        format!("**{title}**\n\n| name | type | labels | |\n|---|---|---|---|\n{}", lines.join("\n"))
    };
    [
        section("A relay", names::RELAY),
        section("The tables", names::STATS),
        section("A consumer", names::CONSUMER),
    ]
    .join("\n\n")
}
