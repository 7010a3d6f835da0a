use std::collections::BTreeSet;

use outbox::Config;
use outbox::relay::metrics::names;

use super::page::Page;

/// What begins like a metric and is none: the tables, and the crates.
const NO_METRICS: [&str; 12] = [
    "outbox_messages",
    "outbox_deferred",
    "outbox_dead_letters",
    "outbox_shards",
    "outbox_relays",
    "outbox_requests",
    "outbox_migrations",
    "outbox_sql",
    "outbox_core",
    "outbox_relay",
    "outbox_memory",
    "outbox_conformance",
];

/// Variables of tests and tasks.
const NO_KEYS: [&str; 4] = ["OUTBOX_TEST_", "OUTBOX_UPDATE_", "OUTBOX_SIM_", "OUTBOX_REQUIRE_SERVICES"];

fn is_word(text: &str, others: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || others.contains(c))
}

#[test]
fn every_metric_on_a_page_exists() {
    let known: BTreeSet<&str> = names::all().map(|metric| metric.name).collect();
    let mut count = 0;
    for page in Page::all() {
        for code in page.code() {
            let name = code.split(['{', '=', ' ']).next().unwrap();
            if !name.starts_with("outbox_") || !is_word(name, "") || NO_METRICS.contains(&name) {
                continue;
            }
            count += 1;
            let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let exists = known.contains(name) || whole.is_some_and(|whole| known.contains(whole));
            assert!(exists, "{}: there is no metric {name}", page.name);
        }
    }
    assert!(count > 10, "{count} metrics are named");
}

#[test]
fn every_key_on_a_page_exists() {
    let reference = Config::reference();
    let keys: BTreeSet<String> =
        Config::default().settings().into_iter().map(|setting| setting.key).collect();
    // Second names stand in the reference only.
    let exists = |key: &str| keys.contains(key) || reference.contains(&format!("`{key}`"));
    let groups: BTreeSet<&str> = keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    let mut count = 0;
    for page in Page::all() {
        for code in page.code() {
            let key = code.split([' ', '=']).next().unwrap();
            let of_ours = key.split_once('.').is_some_and(|(group, _)| groups.contains(group));
            if of_ours && is_word(key, ".") && !key.ends_with(".rs") {
                count += 1;
                assert!(exists(key), "{}: there is no key {key}", page.name);
            }
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for variable in page.text.split(|c| !is_part(c)).filter(|word| word.starts_with("OUTBOX_")) {
            let of_others = NO_KEYS.iter().any(|start| variable.starts_with(start)) || variable == "OUTBOX_";
            let known =
                reference.contains(&format!("`{variable}`")) || reference.contains(&format!("`{variable}="));
            count += 1;
            assert!(of_others || known, "{}: there is no variable {variable}", page.name);
        }
    }
    assert!(count > 30, "{count} keys are named");
}

/// A table of keys has their defaults in its second column, as the reference has.
#[test]
fn the_defaults_in_the_page_of_tuning_are_those_of_the_reference() {
    let reference = Config::reference();
    let rows: Vec<Vec<&str>> = reference.lines().map(cells).collect();
    let default = |key: &str| {
        let row = rows.iter().find(|row| row.len() > 4 && row[0].split(", ").any(|name| name == key));
        row.map(|row| row[3])
    };
    let page = Page::read("tuning.md");
    let mut count = 0;
    for row in page.text.lines().map(cells).filter(|row| row.len() > 2) {
        if let Some(default) = default(row[0]) {
            count += 1;
            assert_eq!(row[1], default, "{}", row[0]);
        }
    }
    assert!(count >= 12, "{count} keys of the tables are known");
}

fn cells(line: &str) -> Vec<&str> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    line.split('|').map(str::trim).collect()
}

/// The URLs in the texts have parameters that there are.
#[tokio::test]
async fn every_broker_url_on_a_page_is_read() {
    const BROKERS: [&str; 4] = ["kafka://", "amqp://", "nats://", "redis://"];
    let mut count = 0;
    for page in Page::all() {
        for url in page.code() {
            if !BROKERS.iter().any(|scheme| url.starts_with(scheme)) || url.contains('…') {
                continue;
            }
            count += 1;
            let read = match url.contains("group=") {
                true => outbox::connect_subscription(url).await.err().map(|error| error.to_string()),
                false => outbox::connect_transport(url).await.err().map(|error| error.to_string()),
            };
            assert_eq!(read, None, "{}: {url}", page.name);
        }
    }
    assert!(count > 4, "{count} URLs");
}
